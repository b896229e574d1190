# shellcheck shell=sh disable=SC2154  # part of scripts/deploy
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
  remember_pods before.txt
}

apply() {
  k apply -f render.yaml >applied.txt || fail "the cluster did not take all of it, see above."
  grep -v ' unchanged$' applied.txt >&2 || say "Nothing differs from what the cluster has."
  objects >after.txt || fail "what was applied cannot be read, see above."
}

roll_back() {
  if ! grep -q '^Deployment ' before.txt; then
    say "deploy: there was nothing before this to go back to; all is left as it is, to be looked at."
    return 1
  fi
  say "Rolling back to what ran before"
  objects >after.txt
  remember_pods after.txt
  put_back >restored.txt || { say "deploy: not all of it could be put back, see above."; return 1; }
  # What only the failed version brought may be what is wrong. Not namespaces and disks: they hold others' things too.
  grep -vxFf before.txt after.txt | grep -Ev '^(Namespace|PersistentVolumeClaim) ' >added.txt
  while read -r kind namespace object; do
    k delete "$kind" "$object" -n "$namespace" --ignore-not-found </dev/null >/dev/null
  done <added.txt
  mv before.txt after.txt
  if ! wait_for_rollouts; then
    say "deploy: rolled back, but what ran before does not run either: $why"
    return 1
  fi
  say "Rolled back. Running now: $(images)"
}

put_back() {
  { [ ! -s before.yaml ] || k apply -f before.yaml; } && { [ ! -s foreign.yaml ] || k replace -f foreign.yaml; }
}

images() { k get deployment mlops-service -n mlops -o jsonpath='{.spec.template.spec.containers[*].image}'; }
