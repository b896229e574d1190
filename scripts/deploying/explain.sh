# shellcheck shell=sh disable=SC2016,SC2154  # part of scripts/deploy
# Explain a failure to a person in fewer than 60 lines: the reason first, then the state around it.

explain() {
  [ -s after.txt ] || objects >after.txt
  pod=''
  {
    for namespace in $(namespaces after.txt); do
      for pod in $(unready_pods "$namespace" | sort -u | sed 2q); do
        head_line "$pod is not ready"
        show_state
        show_ready
        show_log 5
      done
    done
    # All pods may be ready, and the answer wrong.
    [ "$pod" ] || for pod in $(new_pod); do
      namespace=$service_namespace
      head_line "last lines of $pod, without its requests"
      show_log 20
    done
    head_line "pods and warnings"
    for namespace in $(namespaces after.txt); do
      k get pods -n "$namespace" | tail -n 6
      k events -n "$namespace" --types Warning | sed 1d | tail -n 4
    done
  } >explanation.txt 2>&1
  cut -c 1-400 explanation.txt | sed 58q >&2
}

head_line() { printf '\n--- %s\n' "$*"; }

unready_pods() { # namespace
  k get pods -n "$1" -o go-template='{{range .items}}{{$pod := .metadata.name -}}
{{if not (or .metadata.deletionTimestamp (eq .status.phase "Succeeded")) -}}
{{if .status.containerStatuses}}{{range .status.containerStatuses}}{{if not .ready}}{{$pod}}{{"\n"}}{{end}}{{end -}}
{{else}}{{$pod}}{{"\n"}}{{end}}{{end}}{{end}}'
}

show_state() {
  k get pod "$pod" -n "$namespace" -o go-template='{{range .status.conditions -}}
{{if and (eq .type "PodScheduled") (eq .status "False")}}not on a node: {{.message}}{{"\n"}}{{end}}{{end -}}
{{range .status.initContainerStatuses}}{{if not .ready}}{{template "container" .}}{{end}}{{end -}}
{{range .status.containerStatuses}}{{template "container" .}}{{end}}{{define "container"}}{{.name}} {{.image}}: {{with .state.waiting}}{{.reason}} {{or .message ""}}{{end -}}
{{with .state.running}}running{{end}}{{with .state.terminated}}{{.reason}}, exit code {{.exitCode}}{{end}}{{"\n" -}}
{{with .lastState.terminated}}its run before: {{.reason}}, exit code {{.exitCode}}{{"\n"}}{{end}}{{end}}'
}

# The service itself says why it is not ready.
show_ready() {
  [ "$(k get pod "$pod" -n "$namespace" \
    -o go-template='{{.status.phase}} {{index .metadata.labels "app.kubernetes.io/name"}}')" = "Running mlops-service" ] || return 0
  if open_forward "pod/$pod"; then ask /ready && echo "/ready answers 200 now" || echo "$why"; fi
  close_forward
}

show_log() { # lines
  # Of a container that keeps crashing, the run before says why; there may be none.
  k logs "$pod" -n "$namespace" --all-containers --tail=2000 --previous 2>/dev/null | grep -v '"message": "request"' | tail -n "$1"
  # Probes go on while a pod is not ready, and their lines would push the reason out.
  k logs "$pod" -n "$namespace" --all-containers --tail=2000 2>/dev/null | grep -v '"message": "request"' | tail -n "$1"
}
