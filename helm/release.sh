#!/usr/bin/env bash
# Packages the chart, pushes it as an OCI artifact, and signs it: `make release` runs this script.
#
#   REGISTRY=registry.example/charts         required: where the chart is pushed to
#   IMAGE=registry.example/game@sha256:...   also signs this image
#   COSIGN_KEY=cosign.key                    signs with this key or KMS URI; without it cosign signs keyless (OIDC)
#   HELM_KEY=NAME HELM_KEYRING=FILE          also adds a provenance file, signed with this PGP key
#   HELM_PASSPHRASE_FILE=FILE                the passphrase of that key; helm asks for it otherwise
#   SIGN=no                                  pushes without signatures
set -euo pipefail
cd "$(dirname "$0")/.."

fail() {
  echo "$1" >&2
  exit 2
}

require() {
  command -v "$1" >/dev/null || fail "$1 is not installed: $2"
}

# Everything is checked before anything is pushed: a chart that is pushed and not signed looks like a release.
sign=${SIGN:-yes}
[[ "$sign" == yes || "$sign" == no ]] || fail "SIGN: must be yes or no; got $sign"
[[ -n "${REGISTRY:-}" ]] || fail "REGISTRY is required: make release REGISTRY=registry.example/charts"
require helm "see https://helm.sh/docs/intro/install"
packaging=() # expanded with "+", because bash 3 takes an empty array for an unset variable
if [[ "$sign" == yes ]]; then
  require cosign "see https://docs.sigstore.dev/cosign/system_config/installation, or push without signatures: SIGN=no"
  # A key with a colon is the URI of a KMS, a token or a variable, which only cosign can read.
  [[ "${COSIGN_KEY:-:}" == *:* || -r "$COSIGN_KEY" ]] \
    || fail "COSIGN_KEY: must be a readable file or the URI of a key; got $COSIGN_KEY"
  # A tag can be moved after it was signed.
  [[ -z "${IMAGE:-}" || "$IMAGE" =~ @sha256:[0-9a-f]{64}$ ]] \
    || fail "IMAGE: must end in the digest of the pushed image, @sha256:...; got $IMAGE"
  if [[ -n "${HELM_KEY:-}" ]]; then
    [[ -r "${HELM_KEYRING:-}" ]] \
      || fail "HELM_KEYRING: must be the file of the secret keys: gpg --export-secret-keys >secring.gpg"
    packaging=(--sign --key "$HELM_KEY" --keyring "$HELM_KEYRING")
    [[ -z "${HELM_PASSPHRASE_FILE:-}" ]] || packaging+=(--passphrase-file "$HELM_PASSPHRASE_FILE")
  fi
fi

mkdir -p build
rm -f build/tickwire-*.tgz build/tickwire-*.tgz.prov
helm lint --strict helm/tickwire --values helm/tickwire/examples/small.yaml
helm package helm/tickwire --destination build ${packaging[@]+"${packaging[@]}"}
pushed=$(helm push build/tickwire-*.tgz "oci://$REGISTRY" 2>&1) || fail "$pushed"
echo "$pushed"
digest=$(sed -n 's/^Digest: *//p' <<<"$pushed")
[[ "$digest" =~ ^sha256:[0-9a-f]{64}$ ]] || fail "helm push printed no digest; the chart is pushed and not signed"

if [[ "$sign" == yes ]]; then
  key=()
  [[ -z "${COSIGN_KEY:-}" ]] || key=(--key "$COSIGN_KEY")
  cosign sign --yes ${key[@]+"${key[@]}"} "$REGISTRY/tickwire@$digest"
  [[ -z "${IMAGE:-}" ]] || cosign sign --yes ${key[@]+"${key[@]}"} "$IMAGE"
fi
