# shellcheck shell=sh disable=SC2016,SC2034,SC2154  # part of scripts/deploy
# Tries the service through its Service, as a client would, and then the new pod.

smoke_test() {
  say "Trying the service"
  [ "$(job_image)" = "$registry/monitor:$tag" ] || { why="the CronJob does not run $registry/monitor:$tag"; return 1; }
  end=$(($(now) + smoke_timeout))
  until try_service; do
    close_forward
    # The forward may have ended at a pod of an earlier version.
    [ "$passing$others" ] || return 1
    [ "$(now)" -lt "$end" ] || return 1
    sleep 3
  done
  close_forward
}

# After a failure, $passing says that another try may succeed.
try_service() {
  passing=yes
  others=$(other_pods)
  pod=$(new_pod)
  [ "$pod" ] || { why="no pod runs what was deployed"; return 1; }
  version=$(expected_version)
  [ "$version" ] || { why="the pod has no manifest.json with a version"; return 1; }
  open_forward "svc/$service" || return 1
  ask /health || return 1
  close_forward
  # The Service may lead to an old pod that is leaving, and has the same model.
  others=''
  open_forward "pod/$pod" || return 1
  ask /ready || return 1
  served=$(version <answer.txt)
  [ "$served" = "$version" ] || { why="/ready names the model $served, not $version, which was deployed"; return 1; }
  # Its image counts apart from those of clients.
  ask /predict -H 'X-Request-Source: monitor' -F file=@cat.jpg || return 1
  grep -q '"label"' answer.txt || { why="POST /predict answered without a label: $(cat answer.txt)"; return 1; }
  # An overlay may have the metrics on a port of their own.
  if own_port=$(grep -A 1 'name: METRICS_PORT$' render.yaml); then
    close_forward
    open_forward "pod/$pod" "$(printf '%s' "$own_port" | tr -cd '0-9')" || return 1
  fi
  ask /metrics || return 1
  grep -q '^request_count_total{' answer.txt || { why="/metrics has no request_count_total"; return 1; }
  grep '^model_info{' answer.txt | grep -qF "version=\"$version\"" ||
    { why="/metrics has no model_info of the model $version, which was deployed"; return 1; }
}

new_pod() { service_pods | sed -n 's/ new$//p' | sed -n 1p; }

other_pods() { service_pods | sed '/ new$/d'; }

service_pods() {
  # By the template and not by an image: a new model leaves the service's image as it is.
  hash=$(namespace=$service_namespace deployment=$service_deployment && current_hash)
  k get pods -n "$service_namespace" -l app.kubernetes.io/name=mlops-service -o go-template='{{range .items -}}
{{$kind := "old"}}{{with index .metadata.labels "pod-template-hash"}}{{if eq . "'"$hash"'"}}{{$kind = "new"}}{{end}}{{end -}}
{{if .metadata.deletionTimestamp}}{{$kind = "leaving"}}{{end -}}
{{if not (or (eq .status.phase "Failed") (eq .status.phase "Succeeded"))}}{{.metadata.name}} {{$kind}}{{"\n"}}{{end}}{{end}}'
}

# The first version in a JSON text: a model's own stands before all others.
version() { grep -o '"version": *"[^"]*"' | sed -n '1s/.*"\([^"]*\)"$/\1/p'; }

ask() { # path [curl's options]
  path=$1
  shift
  # By its input: whoever lists this machine's processes sees their arguments.
  printf '%s\n' "${api_key:+header = \"Authorization: Bearer $api_key\"}" |
    curl --config - --silent --show-error --noproxy '*' --max-time 30 --write-out '\n%{http_code}\n' "$@" \
      "http://127.0.0.1:$port$path" >answer.txt 2>&1 || true
  code=$(tail -n 1 answer.txt | tr -d '\r')
  # No connection, too many requests, or not ready now.
  case $code in 000 | 429 | 503) passing=yes ;; *) passing='' ;; esac
  [ "$code" = 200 ] || { why="$path answered: $(tr '\n' ' ' <answer.txt)"; return 1; }
}

open_forward() { # svc/name or pod/name, [port]
  : >forward.txt
  # exec, so that the id is kubectl's own and not that of a shell around it. After a failure the script ignores TERM.
  (trap - TERM && exec kubectl ${CONTEXT:+--context "$CONTEXT"} port-forward -n "$service_namespace" "$1" ":${2:-8000}") >forward.txt 2>&1 &
  forward=$!
  tries=0
  until port=$(sed -n 's/^Forwarding from 127\.0\.0\.1:\([0-9]*\) .*/\1/p' forward.txt) && [ "$port" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 15 ] || ! kill -0 "$forward" 2>/dev/null; then
      why="kubectl port-forward does not reach the service: $(cat forward.txt)"
      return 1
    fi
    sleep 1
  done
}

close_forward() {
  [ -z "$forward" ] || { kill "$forward" && wait "$forward"; } 2>/dev/null || true
  forward=''
}
