# shellcheck shell=sh disable=SC2154  # part of scripts/deploy
# What the cluster had before, applying, and going back.

# One line for each object of the render that the cluster has: kind, namespace or -, name.
objects() {
  k get -f render.yaml --ignore-not-found -o go-template='{{define "object" -}}
{{.kind}} {{with .metadata.namespace}}{{.}}{{else}}-{{end}} {{.metadata.name}}{{"\n"}}
{{- end}}{{if .items}}{{range .items}}{{template "object" .}}{{end}}{{else}}{{template "object" .}}{{end}}'
}

namespaces() { sed -n 's/^Deployment \([^ ]*\) .*/\1/p' "$1" | sort -u; }

save_state() {
  objects >before.txt || refuse "what runs now cannot be read, see above."
  # Without its version, an object can be put back over whatever it has become.
  k get -f render.yaml --ignore-not-found -o yaml >live.yaml || refuse "what runs now cannot be read, see above."
  sed '/^ \{2,4\}resourceVersion: /d' live.yaml >before.yaml
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
  # The cluster had them like this: it has nothing to validate.
  k replace --validate=false -f before.yaml >replaced.txt || { say "deploy: not all of it could be put back, see above."; return 1; }
  # What only the failed version brought may be what is wrong. Not namespaces and disks: they hold others' things too.
  grep -vxFf before.txt after.txt | grep -Ev '^(Namespace|PersistentVolumeClaim) ' >added.txt
  while read -r kind namespace name; do
    k delete "$kind" "$name" -n "$namespace" --ignore-not-found </dev/null >/dev/null
  done <added.txt
  mv before.txt after.txt
  if ! wait_for_rollouts; then
    say "deploy: rolled back, but what ran before does not run either: $why"
    return 1
  fi
  say "Rolled back. Running now: $(images)"
}

images() { k get deployment mlops-service -n mlops -o jsonpath='{.spec.template.spec.containers[*].image}'; }
