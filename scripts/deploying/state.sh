# shellcheck shell=sh disable=SC2016,SC2154  # part of scripts/deploy
# What the cluster had before, applying, and going back.

name='{{.kind}} {{with .metadata.namespace}}{{.}}{{else}}-{{end}} {{.metadata.name}}{{"\n"}}'
record='{{with .metadata.annotations}}{{with index . "kubectl.kubernetes.io/last-applied-configuration"}}'

# Prints a template for each object of the render that the cluster has; of a single one kubectl makes no list.
each() {
  k get -f render.yaml --ignore-not-found -o go-template="{{define \"object\"}}$1{{end -}}
{{if .items}}{{range .items}}{{template \"object\" .}}{{end}}{{else}}{{template \"object\" .}}{{end}}"
}

objects() { each "$name"; }

namespaces() { sed -n 's/^Deployment \([^ ]*\) .*/\1/p' "$1" | sort -u; }

save_state() {
  objects >before.txt || refuse "what runs now cannot be read, see above."
  # As it was applied, not as it is: what the cluster added, such as the autoscaler's number, is not ours to put back.
  each "$record---{{\"\\n\"}}{{.}}{{end}}{{end}}" >before.yaml || refuse "what runs now cannot be read, see above."
  # Only what was not made by kubectl apply is kept as it is, without its version, to be put over whatever it becomes.
  each "{{\$applied := false}}$record{{\$applied = true}}{{end}}{{end}}{{if not \$applied}}$name{{end}}" >foreign.txt
  while read -r kind namespace object; do
    echo ---
    k get "$kind" "$object" -n "$namespace" -o yaml </dev/null | sed '/^  resourceVersion: /d'
  done <foreign.txt >foreign.yaml
}

apply() {
  budgets=$(budgets) || true
  k apply -f render.yaml >applied.txt || fail "the cluster did not take all of it, see above."
  same=' unchanged$'
  [ "$(budgets)" != "$budgets" ] || same="$same|^poddisruptionbudget.* configured\$"
  grep -Ev "$same" applied.txt >&2 || say "Nothing differs from what the cluster has."
  objects >after.txt || fail "what was applied cannot be read, see above."
  restore_minimum
}

# kubectl calls a PodDisruptionBudget "configured" at every apply: its patch always names the selector.
budgets() {
  k get poddisruptionbudgets --all-namespaces -o go-template='{{range .items -}}
{{.metadata.namespace}} {{.metadata.name}} {{.metadata.generation}}{{"\n"}}{{end}}'
}

# An autoscaler leaves a Deployment alone that somebody scaled to 0.
restore_minimum() {
  sed -n 's/^HorizontalPodAutoscaler //p' after.txt >autoscalers.txt
  while read -r namespace autoscaler; do
    found=$(k get horizontalpodautoscaler "$autoscaler" -n "$namespace" \
      -o go-template='{{.spec.scaleTargetRef.name}} {{or .spec.minReplicas 1}}' </dev/null)
    deployment=${found% *} minimum=${found#* }
    [ "$(k get deployment "$deployment" -n "$namespace" -o jsonpath='{.spec.replicas}' </dev/null)" = 0 ] || continue
    say "$namespace/$deployment was scaled to 0: starting $minimum pods"
    k patch deployment "$deployment" -n "$namespace" --type merge --patch "{\"spec\": {\"replicas\": $minimum}}" \
      </dev/null >/dev/null
  done <autoscalers.txt
}

roll_back() {
  if ! grep -q '^Deployment ' before.txt; then
    say "deploy: there was nothing before this to go back to; all is left as it is, to be looked at."
    return 1
  fi
  say "Rolling back to what ran before"
  objects >after.txt
  put_back >restored.txt || { say "deploy: not all of it could be put back, see above."; return 1; }
  # What only the failed version brought may be what is wrong. Not namespaces and disks: they hold others' things too.
  grep -vxFf before.txt after.txt | grep -Ev '^(Namespace|PersistentVolumeClaim) ' >added.txt
  while read -r kind namespace object; do
    k delete "$kind" "$object" -n "$namespace" --ignore-not-found </dev/null >/dev/null
  done <added.txt
  end_checks
  mv before.txt after.txt
  restore_minimum
  # Everything is put back; only the wait may be interrupted.
  trap 'interrupted=yes' HUP INT TERM
  wait_for_rollouts
  failed=$?
  trap '' HUP INT TERM
  if [ "$failed" -ne 0 ]; then
    say "deploy: rolled back, but what ran before does not run either: $why"
    return 1
  fi
  say "Rolled back. Running now: $(images)"
}

put_back() {
  { [ ! -s before.yaml ] || k apply -f before.yaml; } && { [ ! -s foreign.yaml ] || k replace -f foreign.yaml; }
}

# A check that began with the failed version would hold back the next ones, for minutes if its image does not exist.
end_checks() {
  [ "$(job_image)" != "$registry/monitor:$tag" ] || return 0
  k get jobs -n "$job_namespace" -o go-template='{{range .items}}{{$job := .metadata.name -}}
{{if not (or .status.completionTime .status.failed)}}{{range .spec.template.spec.containers -}}
{{if eq .image "'"$registry/monitor:$tag"'"}}{{$job}}{{"\n"}}{{end}}{{end}}{{end}}{{end}}' >checks.txt
  while read -r check; do
    k delete job "$check" -n "$job_namespace" --ignore-not-found --wait=false </dev/null >/dev/null
  done <checks.txt
}

job_image() { k get cronjob "$job" -n "$job_namespace" -o jsonpath='{..containers[*].image}'; }

images() { service_images | sort -u | tr '\n' ' ' | sed 's/ $//'; }
