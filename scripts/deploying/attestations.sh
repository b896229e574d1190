# shellcheck shell=sh disable=SC2154  # part of scripts/deploy
# Verify that this repository's workflows built what is deployed from GHCR, by the signed provenance of the images.

issuer=https://token.actions.githubusercontent.com

verify_attestations() { # image:tag...
  wanted=${ATTESTATIONS:-}
  # The overlay production asks for it, and so do overlays that build on it.
  ! grep -q '^ *image-classification/attestations: required *$' render.yaml || wanted=required
  [ "$wanted" != skip ] || return 0
  # An image of a branch is for a trial.
  main_only=''
  [ "$wanted" != required ] || main_only=yes
  case $registry in
    ghcr.io/*/*) ;;
    *)
      [ "$wanted" != required ] ||
        refuse "attestations are required, but only images at ghcr.io/<owner>/<repository> have them, not those at $registry."
      return 0
      ;;
  esac
  source=$(printf '%s' "${registry#ghcr.io/}" | cut -d / -f 1,2)
  if command -v gh >/dev/null && gh auth status >/dev/null 2>&1; then
    verifier=verify_with_gh
  elif command -v cosign >/dev/null; then
    verifier=verify_with_cosign
  else
    missing="gh (logged in: gh auth login) or cosign is needed to verify the images, and neither is here"
    [ "$wanted" != required ] || refuse "attestations are required, but $missing."
    say "Not verified: $missing."
    return 0
  fi
  for image in "$@"; do
    "$verifier" "$registry/$image" >verification.txt 2>&1 && continue
    tail -n 5 verification.txt >&2
    # The cluster may have a password for a private registry that this machine lacks.
    if [ "$wanted" != required ] && grep -Eiq 'unauthorized|denied|authentication required' verification.txt; then
      say "Not verified: this machine may not read $registry/$image, see above. For a private one: docker login ghcr.io."
      return 0
    fi
    refuse "$registry/$image was not verified to be built by $source, see above."
  done
  say "Verified: the workflows of $source built $*"
}

verify_with_gh() {
  gh attestation verify "oci://$1" --repo "$source" --predicate-type https://slsa.dev/provenance/v1 \
    ${main_only:+--source-ref refs/heads/main}
}

verify_with_cosign() {
  # Owners may be written in upper case on GitHub; in names of images they are not.
  cosign verify-attestation --new-bundle-format --type slsaprovenance1 --certificate-oidc-issuer "$issuer" \
    --certificate-identity-regexp "(?i)^https://github\.com/$(printf '%s' "$source" | sed 's/\./\\./g')/\.github/workflows/ci\.yml@${main_only:+refs/heads/main\$}" "$1"
}
