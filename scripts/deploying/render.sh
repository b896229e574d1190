# shellcheck shell=sh disable=SC2034,SC2154  # part of scripts/deploy
# The objects to apply: the overlay with this tag and this model.

# A throw-away overlay beside a copy: kustomize takes no absolute paths, and the tree stays as it is.
render() {
  # Without a name, the version is not known yet: keep_running renders again.
  image_tag=${tag:-unnamed}
  name_published_images
  mkdir -p deploy
  cat >deploy/kustomization.yaml <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources: [../$overlay]
images:
  - {name: inference, newName: $registry/inference, newTag: "$image_tag"}
  - {name: localhost/mlops/inference, newName: $registry/inference, newTag: "$image_tag"}
  - {name: monitor, newName: $registry/monitor, newTag: "$image_tag"}
  - {name: localhost/mlops/monitor, newName: $registry/monitor, newTag: "$image_tag"}
  - {name: model, newName: $registry/model, newTag: "${model:-unnamed}"}
  - {name: localhost/mlops/model, newName: $registry/model, newTag: "${model:-unnamed}"}
YAML
  [ -z "$repository" ] || cat >>deploy/kustomization.yaml <<YAML
patches:
  - target: {kind: Deployment, name: prometheus}
    patch: |-
      apiVersion: apps/v1
      kind: Deployment
      metadata: {name: prometheus}
      spec: {template: {spec: {containers: [{name: prometheus, env: [{name: REPOSITORY_URL, value: "$repository"}]}]}}}
YAML
  render_deploy
  # An MLflow elsewhere has its own port.
  if [ "$mlflow_port" ] && grep -q ' http://host\.minikube\.internal:5000 *$' render.yaml; then
    set_mlflow_port
    render_deploy
  fi
  for image in inference monitor; do
    grep -q "image: \"\{0,1\}$registry/$image:$image_tag\"\{0,1\} *\$" render.yaml ||
      refuse "$overlay runs no image that is called $image or localhost/mlops/$image."
  done
  ! grep -Eq '^ *(- )?reference: "?model"? *$' render.yaml ||
    refuse "This kubectl does not set the tag of an image volume, as $overlay has one: use kubectl 1.37 or newer."
  # An overlay may have its own namespaces, and a prefix before each name.
  found=$(named Service mlops-service)
  service_namespace=${found% *} service=${found#* }
  found=$(named Deployment mlops-service)
  service_deployment=${found#* }
  found=$(named CronJob post-deploy-accuracy)
  job_namespace=${found% *} job=${found#* }
  [ "$service" ] && [ "$job" ] ||
    refuse "$overlay needs a Service and a CronJob with the labels app.kubernetes.io/name of the bases."
  if [ "$service_namespace/$service" != mlops/mlops-service ] && grep -q ' http://mlops-service\.mlops\.svc:8000 *$' render.yaml; then
    refuse "$overlay names its Service $service in $service_namespace, but its settings name mlops-service in mlops." \
      "Add to its kustomization.yaml: transformers: [../../addresses]"
  fi
}

# In overlays with components/published-images, the tag and the model's version replace the digests that CI wrote.
name_published_images() {
  published=kustomize/components/published-images/kustomization.yaml
  [ -f "$published" ] || return 0
  awk -v registry="$registry" -v tag="$image_tag" -v model="${model:-unnamed}" '
    /^  - name: / { name = $3; ours = name == "inference" || name == "monitor" || name == "model" }
    ours && /^    newName: / { $0 = "    newName: " registry "/" name }
    ours && /^    (newTag|digest): / { $0 = "    newTag: \"" (name == "model" ? model : tag) "\"" }
    { print }' "$published" >published.yaml
  mv published.yaml "$published"
}

render_deploy() { kubectl kustomize deploy >render.yaml || refuse "$overlay cannot be rendered, see above."; }

# The port is in the monitor's setting and in its network policy.
set_mlflow_port() {
  cat >>deploy/kustomization.yaml <<YAML
configMapGenerator:
  - name: mlflow
    literals: [port=$mlflow_port]
    options: {annotations: {config.kubernetes.io/local-config: "true"}} # kept out of the result
replacements:
  - source: {kind: ConfigMap, name: mlflow, fieldPath: data.port}
    targets:
      - select: {kind: CronJob, name: post-deploy-accuracy}
        fieldPaths: ["spec.jobTemplate.spec.template.spec.containers.*.env.[name=MLFLOW_TRACKING_URI].value"]
        options: {delimiter: ":", index: 2}
      - select: {kind: NetworkPolicy, name: post-deploy-accuracy}
        fieldPaths: ["spec.egress.*.ports.[port=5000].port"]
YAML
}

# Prints the namespace and the name of an object of the render, by its kind and its label app.kubernetes.io/name.
named() { # kind label
  awk -v kind="$1" -v label="$2" '
    function flush() { if (found == kind && component == label) print namespace, name; found = component = "" }
    { gsub(/"/, "") }
    /^---/ { flush() }
    /^[a-z]/ { section = $1 }
    /^kind: / { found = $2 }
    section == "metadata:" && /^  name: / { name = $2 }
    section == "metadata:" && /^  namespace: / { namespace = $2 }
    section == "metadata:" && /^    app\.kubernetes\.io\/name: / { component = $2 }
    END { flush() }' render.yaml | sed -n 1p
}
