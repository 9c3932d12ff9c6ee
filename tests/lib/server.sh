# shellcheck shell=bash
# Starting the server under test, for the scripts under tests/. Source it; then:
#
#   start_server BINARY [SECTIONS]
#                         sets $server_port (STUN and TURN, UDP and TCP), $secure_port (over TLS,
#                         and over DTLS if $server_dtls is not empty: the binary knows it),
#                         $server_http_port and $server_directory (config, certificate, log);
#                         returns when the server answers; fails, and says why in
#                         $server_complaint, when it does not within ten seconds; SECTIONS are more
#                         of the configuration
#   prometheus_python     a Python that has Prometheus' client
#   stop_server           ends it and says so if it had ended before
#   free_ports NAME…      sets each of these variables to a port that is free on loopback for UDP and
#                         TCP, and was not given before

server_pid="" server_complaint="" server_dtls="" ports_given=" "

free_ports() {
  local variable drawn
  for variable; do
    while :; do
      drawn=$((RANDOM % 16000 + 16000))
      # In use by nobody, whichever protocol: ss prints a line for each socket on that port. Who was
      # given one may not have opened it yet.
      [[ $ports_given == *" $drawn "* || -n $(ss -Hltun "sport = :$drawn") ]] || break
    done
    ports_given+="$drawn "
    printf -v "$variable" %s "$drawn"
  done
}

start_server() {
  local binary=$1 sections=${2:-} alternate_port deadline dtls=""
  server_directory=$(mktemp -d)
  free_ports server_port secure_port server_http_port alternate_port
  # Who tests with it does not believe it anyway.
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 \
    -subj /CN=localhost -addext subjectAltName=DNS:localhost \
    -keyout "$server_directory/key.pem" -out "$server_directory/cert.pem" 2>/dev/null
  server_dtls=""
  if knows_dtls "$binary"; then
    server_dtls=true
    dtls="\"127.0.0.1:$secure_port\", \"[::1]:$secure_port\""
  fi
  cat >"$server_directory/turnserver.toml" <<EOF
realm = "example.org"
[listen]
udp = ["127.0.0.1:$server_port", "[::1]:$server_port"]
tcp = ["127.0.0.1:$server_port", "[::1]:$server_port"]
tls = ["127.0.0.1:$secure_port", "[::1]:$secure_port"]
dtls = [$dtls]
http = ["127.0.0.1:$server_http_port"]
proxy_protocol = ["127.0.0.9"]
[nat_discovery]
primary = ["127.0.0.1:$server_port"]
alternate = ["127.0.0.2:$alternate_port"]
[tls]
certificate = "$server_directory/cert.pem"
key = "$server_directory/key.pem"
[auth]
secrets = ["s3cret"]
users = [{ name = "user1", password = "test" }, { name = "user2", password = "test2" }]
[third_party]
server_name = "turn.example.org"
coturn_clients = true
# The keys of turnutils_uclient -J.
keys = [
  { kid = "north", key = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" },
  { kid = "union", key = "MTIzNDU2Nzg5MDEyMzQ1Ng==", algorithm = "A128GCM" },
  { kid = "oldempire", key = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=" },
]
[peers]
allow = ["127.0.0.0/8", "::1/128"]
[signalling]
demo = true
$sections
EOF
  "$binary" --config "$server_directory/turnserver.toml" >"$server_directory/log" 2>&1 </dev/null &
  server_pid=$!
  deadline=$((SECONDS + 10))
  until server_answers; do
    if ! kill -0 "$server_pid" 2>/dev/null || ((SECONDS >= deadline)); then
      server_complaint="$binary does not answer. Its log:"$'\n'"$(cat "$server_directory/log")"
      return 1
    fi
  done
}

# Whether a binary was built with DTLS: it then misses the file.
knows_dtls() {
  local said file="$server_directory/dtls.toml"
  printf '[listen]\ndtls = ["127.0.0.1:5349"]\n[tls]\ncertificate = "/none"\n' >"$file"
  said=$("$1" check-config --config "$file" 2>&1) || true
  [[ $said == *"/none cannot be read"* ]]
}

# Over UDP and TCP, IPv4 and IPv6. Each attempt waits by itself, so the loop needs no sleep.
server_answers() {
  local address
  for address in 127.0.0.1 ::1; do
    timeout 0.5 turnutils_stunclient -p "$server_port" "$address" 2>/dev/null |
      grep -q 'reflexive addr' || return 1
    timeout 0.5 bash -c "</dev/tcp/$address/$server_port" 2>/dev/null || return 1
  done
}

# A Python that has Prometheus' client: Debian's package is for Debian's own.
prometheus_python() {
  local python
  for python in python3 /usr/bin/python3; do
    if "$python" -c 'import prometheus_client.openmetrics.parser' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

stop_server() {
  local status=0
  [[ -n $server_pid ]] || return 0
  if kill -TERM "$server_pid" 2>/dev/null; then
    # A server which does not end is killed, and that shows in its status.
    timeout 10 tail --pid="$server_pid" -f /dev/null || kill -KILL "$server_pid"
  else
    echo "the server had ended before it was told to"
    status=1
  fi
  wait "$server_pid" || status=$?
  server_pid=""
  rm -rf "$server_directory"
  return "$status"
}
