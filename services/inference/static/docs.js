// A proxy may have put a path before this page and before all routes.
const root = new URL(".", location.href).pathname;

fetch("openapi.json")
  .then((response) => response.json())
  .then((spec) => {
    spec.servers = [{ url: root }];
    SwaggerUIBundle({ spec, dom_id: "#swagger-ui", deepLinking: true });
  });
