# shellcheck shell=bash
# Counting and telling, for the scripts under tests/. Source it; then:
#
#   pass NAME | fail NAME [WHY] | skip NAME WHY   one test each
#   closing   the last line, "N passed, N failed" and ", N skipped" if any
#
# A test that cannot run on a machine is skipped there, and told; on CI (CI=true) it is a failure,
# because there everything has to run.

passed=0 failed=0 skipped=0

pass() {
  passed=$((passed + 1))
  printf '  ok    %s\n' "$1"
}

fail() {
  failed=$((failed + 1))
  printf '  FAIL  %s\n' "$1"
  [[ -z ${2-} ]] || printf '        %s\n' "${2//$'\n'/$'\n'        }"
}

skip() {
  if [[ ${CI-} == true ]]; then
    fail "$1" "CANNOT RUN: $2"
  else
    skipped=$((skipped + 1))
    printf '  SKIP  %s\n        CANNOT RUN: %s\n' "$1" "$2"
  fi
}

# Whether all is well; prints the line that others parse.
closing() {
  if ((skipped)); then
    printf '%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  else
    printf '%d passed, %d failed\n' "$passed" "$failed"
  fi
  ((failed == 0))
}
