# shellcheck shell=sh disable=SC2016,SC2034,SC2154  # part of scripts/deploy
# Waits until every Deployment runs what it should, but not for a pod that cannot start.

hopeless='ErrImagePull|ImagePullBackOff|InvalidImageName|ErrImageNeverPull'
hopeless="$hopeless|CreateContainerConfigError|CreateContainerError|RunContainerError|CrashLoopBackOff"

wait_for_rollouts() {
  deadline=$(($(now) + timeout))
  sed -n 's/^Deployment //p' after.txt >deployments.txt
  while read -r namespace deployment; do
    say "Waiting for $namespace/$deployment"
    wait_for_rollout || return 1
  done <deployments.txt
}

wait_for_rollout() {
  stuck_since=''
  until k rollout status "deployment/$deployment" -n "$namespace" --timeout=3s </dev/null >rollout.txt 2>&1; do
    why="$namespace/$deployment is not ready after TIMEOUT=$timeout seconds: $(sed -n 1p rollout.txt)"
    [ "$(now)" -lt "$deadline" ] || return 1
    [ -z "$interrupted" ] || { why="the wait was interrupted"; return 1; }
    # A registry that is away for a moment mends itself, and so does the mark of a rollout that failed before this one.
    stuck=$(grep 'progress deadline' rollout.txt || stuck_pods)
    if [ -z "$stuck" ]; then stuck_since=''; else stuck_since=${stuck_since:-$(now)}; fi
    why="$namespace/$deployment cannot start: $stuck"
    [ -z "$stuck" ] || [ "$(now)" -lt $((stuck_since + stuck_timeout)) ] || return 1
    sleep 1
  done
}

# Pods of the current version only: what is left of another one, broken perhaps, is not waited for.
stuck_pods() {
  k get pods -n "$namespace" -l "pod-template-hash=$(current_hash)" -o go-template='{{range .items -}}
{{$pod := .metadata.name}}{{if not .metadata.deletionTimestamp}}{{range .status.initContainerStatuses}}{{with .state.waiting -}}
{{$pod}} {{.reason}}{{"\n"}}{{end}}{{end}}{{range .status.containerStatuses}}{{with .state.waiting -}}
{{$pod}} {{.reason}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}' </dev/null |
    grep -E " ($hopeless)\$"
}

current_hash() {
  k get replicasets -n "$namespace" -o go-template='{{range .items}}{{$set := .metadata}}{{range .metadata.ownerReferences -}}
{{if eq .name "'"$deployment"'"}}{{index $set.annotations "deployment.kubernetes.io/revision"}} {{index $set.labels "pod-template-hash" -}}
{{"\n"}}{{end}}{{end}}{{end}}' </dev/null | sort -n | sed -n '$s/.* //p'
}
