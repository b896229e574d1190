# shellcheck shell=sh disable=SC2154  # part of scripts/deploy
# One deploy at a time in the whole cluster: a ConfigMap, which only one can create.

lock='-n default configmap/deploy-lock'

lock_yaml() { # [a line of metadata]
  cat <<YAML
apiVersion: v1
kind: ConfigMap
metadata:
  name: deploy-lock
  namespace: default
  $*
data:
  holder: "$holder"
  expires: "$(($(now) + 2 * timeout + smoke_timeout + 600))"
YAML
}

take_lock() {
  holder=$(printf '%s' "$(id -un)@$(uname -n), process $$, ${tag:+$tag, }${model:+model $model, }$(date -u +%Y-%m-%dT%H:%M:%SZ)" |
    tr -cd '[:alnum:] @,:._+-')
  give_up=$(($(now) + lock_timeout)) waiting=''
  until lock_yaml | k create -f - >lock.txt 2>&1; do
    grep -q AlreadyExists lock.txt || { cat lock.txt >&2; refuse "the lock cannot be made, see above."; }
    # shellcheck disable=SC2086  # several words
    k get $lock --ignore-not-found \
      -o go-template='{{.metadata.resourceVersion}} {{.data.expires}} {{.data.holder}}' >lock.txt ||
      refuse "the lock cannot be read, see above."
    [ -s lock.txt ] || continue
    IFS=' ' read -r revision expires other <<TEXT
$(cat lock.txt)
TEXT
    # One made by hand has no end; whoever made it will remove it.
    case $expires in *[!0-9]*) expires=9999999999 ;; esac
    if [ "$expires" -lt "$(now)" ]; then
      say "Taking over the lock that a deploy left behind ($other)."
      # Of two that see this at once, one finds another version than it names.
      lock_yaml "resourceVersion: '$revision'" | k replace -f - >/dev/null 2>&1 && return
    fi
    if [ "$(now)" -ge "$give_up" ]; then
      holder=''
      say "deploy: another deploy is under way ($other). Try again later, or, if it is dead:" \
        "kubectl delete $lock"
      exit 3
    fi
    [ "$waiting" ] || say "Waiting for another deploy to end ($other)"
    waiting=yes
    sleep 2
  done
}

release_lock() {
  [ "$holder" ] || return 0
  # shellcheck disable=SC2086  # several words
  [ "$(k get $lock --ignore-not-found -o go-template='{{.data.holder}}')" != "$holder" ] ||
    k delete $lock >/dev/null
}
