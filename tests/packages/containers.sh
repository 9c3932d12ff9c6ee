# shellcheck shell=bash
# What can be said of the files for containers where there is no engine. Sourced by run, whose
# $root and $place these are.
# shellcheck disable=SC2154

containers() {
  local tools=$root/target/tools tool
  if [[ -x $tools/bin/hadolint ]]; then
    check "hadolint finds nothing in the Dockerfile" \
      silent "$tools/bin/hadolint" "$root/packaging/Dockerfile"
  else
    skip "hadolint finds nothing in the Dockerfile" "there is no hadolint (tests/lib/install.sh)"
  fi
  check "the Dockerfile copies all that a build needs" context_is_whole
  tool=$tools/bin/python3
  if [[ ! -x $HAIRPIN ]]; then
    skip "the files for Compose and Kubernetes" "there is no $HAIRPIN (cargo build)"
  elif [[ -x $tool ]] && "$tool" -c 'import yaml, kubernetes_validate' 2>/dev/null; then
    check "the files for Compose and Kubernetes are what these read, and agree with hairpin" \
      "$tool" "$root/tests/packages/manifests.py" "$root" "$HAIRPIN"
  else
    skip "the files for Compose and Kubernetes" \
      "there is no kubernetes-validate (tests/lib/install.sh)"
  fi
}

# A build with nothing there but what the Dockerfile copies and .dockerignore lets through.
context_is_whole() {
  local context=$place/context path paths
  mkdir "$context"
  paths=$(sed -n '/--from=/d; s/^COPY \(.*\) [^ ]*$/\1/p' "$root/packaging/Dockerfile")
  for path in $paths; do
    grep -qxF "!$path" "$root/.dockerignore" || { echo "$path is not in .dockerignore"; return 1; }
    cp -r "$root/$path" "$context"
  done
  cd "$context" || return
  CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$root/target} cargo check --locked --bin hairpin
}
