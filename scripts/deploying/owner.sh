# shellcheck shell=sh disable=SC2016,SC2154  # part of scripts/deploy
# Refuse where a GitOps controller owns the objects: it would undo within minutes what is applied here.

owner='{{with .metadata.labels}}{{with index . "kustomize.toolkit.fluxcd.io/name"}}Flux, by its Kustomization {{.}},{{"\n"}}{{end -}}
{{with index . "argocd.argoproj.io/instance"}}Argo CD, by its Application {{.}},{{"\n"}}{{end}}{{end -}}
{{with .metadata.annotations}}{{with index . "argocd.argoproj.io/tracking-id"}}Argo CD, by {{.}},{{"\n"}}{{end}}{{end}}'

check_owner() {
  each "$owner" >owners.txt || refuse "what runs now cannot be read, see above."
  [ ! -s owners.txt ] ||
    refuse "$(sed -n 1p owners.txt) owns what runs here and would undo this: change Git instead, as docs/gitops.md describes."
}
