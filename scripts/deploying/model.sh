# shellcheck shell=sh disable=SC2016,SC2034,SC2154  # part of scripts/deploy
# The service and the model have versions of their own. What is not named stays as it runs.

usage() { sed -n '2,/^set/s/^# \{0,1\}//p' "$root/scripts/deploy" >&2; exit 2; }

read_versions() { # arguments
  while [ $# -gt 0 ]; do
    case $1 in
      --model)
        [ $# -gt 1 ] && [ -z "$model" ] || usage
        check_tag "$2" "a model's version"
        model=$2
        shift
        ;;
      *)
        [ -z "$tag" ] || usage
        check_tag "$1" "an image tag"
        tag=$1
        ;;
    esac
    shift
  done
  [ "$tag$model" ] || usage
}

check_tag() { # text what
  case $1 in
    '' | [.-]* | *[!A-Za-z0-9_.-]*) refuse "'$1' is not $2: letters, digits and _ . - only." ;;
  esac
  [ ${#1} -le 128 ] || refuse "'$1' is not $2: it has more than 128 characters."
  [ "$1" != latest ] || refuse "latest is not a version. Name the tag that was built, such as a git commit."
}

expected_version() {
  case $model in
    '') bundle=models/champion ;;    # in the service's image
    local) bundle=../model/bundle ;; # the tag of the overlay, before a version was deployed
    *) printf '%s\n' "$model" && return ;;
  esac
  k exec "$pod" -n "$service_namespace" -- cat "$bundle/manifest.json" | version
}

# An overlay without one of the components model-init and model-volume serves the model in the service's image.
has_model() { grep -Eq "^ *-? *(image|reference): \"?$registry/model:" render.yaml; }

first_model() {
  model=$(version <"$root/models/champion/manifest.json")
  [ "$model" ] || refuse "No model runs yet, and models/champion has none: name one with --model."
  verify_attestations "model:$model"
}

# Under the lock, so that no other deploy changes it in between.
keep_running() {
  if ! has_model; then
    [ -z "$model" ] || refuse "$overlay serves the model in the service's image, so --model cannot name another." \
      "Add to its kustomization.yaml: components: [../../components/model-init]"
  elif [ -z "$model" ]; then
    model=$(running model)
    [ "$model" ] || first_model
    render_again=yes
  fi
  if [ -z "$tag" ]; then
    tag=$(running inference)
    [ "$tag" ] || refuse "No $registry/inference with a tag runs in $service_namespace: name the TAG, too."
    render_again=yes
  fi
  [ -z "${render_again:-}" ] || render
}

service_images() {
  k get deployment "$service_deployment" -n "$service_namespace" --ignore-not-found -o go-template='{{with .spec.template.spec -}}
{{range .containers}}{{.image}}{{"\n"}}{{end}}{{range .initContainers}}{{.image}}{{"\n"}}{{end -}}
{{range .volumes}}{{with .image}}{{.reference}}{{"\n"}}{{end}}{{end}}{{end}}'
}

# Prints the tag of an image that runs; nothing for an image of another registry, or without a tag.
running() { # inference or model
  service_images >running.txt || refuse "what runs now cannot be read, see above."
  sed -n "s|^$registry/$1:\([A-Za-z0-9_.-]*\)\$|\1|p" running.txt | sed -n 1p
}
