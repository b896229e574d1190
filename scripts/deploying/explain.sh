# shellcheck shell=sh disable=SC2016  # part of scripts/deploy
# What a person needs to see after a failure.

explain() {
  [ -s after.txt ] || objects >after.txt
  for namespace in $(namespaces after.txt); do
    head_line "pods in $namespace"
    k get pods -n "$namespace" -o wide
    head_line "last events in $namespace"
    k events -n "$namespace" | tail -n 20
    for pod in $(unready_pods "$namespace" | sort -u); do
      head_line "$pod"
      k describe pod "$pod" -n "$namespace"
      show_logs "$pod" "$namespace"
    done
  done >&2
  head_line "last lines of the service" >&2
  k logs -n mlops -l app.kubernetes.io/name=mlops-service --tail=30 --prefix >&2
}

head_line() { printf '\n--- %s\n' "$*"; }

show_logs() { # pod namespace
  head_line "last lines of $1"
  k logs "$1" -n "$2" --all-containers --tail=40 2>&1
  # Of a container that keeps crashing, the run before says why; there may be none.
  k logs "$1" -n "$2" --all-containers --tail=40 --previous 2>/dev/null
}

unready_pods() { # namespace
  k get pods -n "$1" -o go-template='{{range .items}}{{$pod := .metadata.name}}{{if ne .status.phase "Succeeded" -}}
{{if .status.containerStatuses}}{{range .status.containerStatuses}}{{if not .ready}}{{$pod}}{{"\n"}}{{end}}{{end -}}
{{else}}{{$pod}}{{"\n"}}{{end}}{{end}}{{end}}'
}
