# shellcheck shell=bash
# Running `cargo test` once and telling its results by ring. Source it after report.sh.
#
# Which ring a test belongs to follows from where it stands, so that a new file is never left out:
# what has no ring of its own counts for ring 4.

ring_of() {
  local target=$1 test=$2
  case $target in
    src/lib.rs)
      case $test in
        wire::*) echo 1 ;;
        turn::*) echo 2 ;;
        *) echo 4 ;;
      esac
      ;;
    tests/wire_*.rs) echo 1 ;;
    tests/turn_*.rs) echo 2 ;;
    tests/simulation*.rs) echo 3 ;;
    tests/loopback_turn_client_proto.rs) echo 5 ;;
    *) echo 4 ;;
  esac
}

declare -A ring_passed ring_failed ring_skipped

# Reads what `cargo test` printed and fills the three tables, by ring. The line "test result:" of
# each program is what counts; the lines for single tests only divide it. Where a test's own output
# has garbled them, the rest goes to the ring of the program.
count_by_ring() {
  local log=$1 line target="" name verdict ring
  local result='^test result:.* ([0-9]+) passed; ([0-9]+) failed; ([0-9]+) ignored'
  declare -A seen
  ring_passed=() ring_failed=() ring_skipped=()
  while IFS= read -r line; do
    if [[ $line =~ ^\ +Running\ (unittests\ )?([^ ]+)\ \( ]]; then
      target=${BASH_REMATCH[2]}
      seen=([ok]=0 [FAILED]=0 [ignored]=0)
    elif [[ $line =~ ^\ +Doc-tests\  ]]; then
      target="documentation"
      seen=([ok]=0 [FAILED]=0 [ignored]=0)
    elif [[ $line =~ ^test\ (.+)\ \.\.\.\ (ok|FAILED|ignored) ]]; then
      name=${BASH_REMATCH[1]} verdict=${BASH_REMATCH[2]}
      seen[$verdict]=$((seen[$verdict] + 1))
      ring=$(ring_of "$target" "$name")
      count "$verdict" "$ring" 1
      [[ $verdict != FAILED ]] || printf '  FAIL  %s: %s\n' "$target" "$name"
      [[ $verdict != ignored ]] || printf '  SKIP  %s: %s (ignored)\n' "$target" "$name"
    elif [[ $line =~ $result ]]; then
      ring=$(ring_of "$target" "")
      count ok "$ring" $((BASH_REMATCH[1] - seen[ok]))
      count FAILED "$ring" $((BASH_REMATCH[2] - seen[FAILED]))
      count ignored "$ring" $((BASH_REMATCH[3] - seen[ignored]))
    fi
  done < <(tr -d '\r' <"$log")
}

count() {
  local verdict=$1 ring=$2 number=$3
  case $verdict in
    ok) ring_passed[$ring]=$((${ring_passed[$ring]:-0} + number)) ;;
    FAILED) ring_failed[$ring]=$((${ring_failed[$ring]:-0} + number)) ;;
    ignored) ring_skipped[$ring]=$((${ring_skipped[$ring]:-0} + number)) ;;
  esac
}
