# shellcheck shell=bash
# shellcheck disable=SC2154 # who sources this sets $dir
# Processes in the background, each known by its name: $dir/NAME.pid and $dir/NAME.log.

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
refuse() { say "$*"; exit 1; }

# refuse_all LINES: all that is missing at once, not one thing after another.
refuse_all() {
  say "cannot run here, this is missing:"
  printf '%s\n' "$1" | sed 's/^/  - /' >&2
  exit 1
}

# A process id alone proves nothing, it may have gone to another process since: every command line of ours names our directory.
lives() { [ -f "$dir/$1.pid" ] && grep -qsaF "$dir/" "/proc/$(cat "$dir/$1.pid")/cmdline"; }

# Lets one command at a time change what runs; it ends with this process.
lock() {
  mkdir -p "$(dirname "$dir")"
  exec 9>"$dir.lock" && flock 9
}

# start NAME COMMAND...: in a session of its own, so that it outlives the terminal. Nothing happens if it runs.
start() {
  local name=$1
  shift
  if ! lives "$name"; then
    # 9: what it starts must not hold the lock.
    setsid "$@" >>"$dir/$name.log" 2>&1 </dev/null 9>&- &
    echo $! >"$dir/$name.pid"
    # Until it has its own command line, or has ended: before that it does not look alive.
    until lives "$name" || ! kill -0 $! 2>/dev/null; do sleep 0.02; done
  fi
}

# has_ended PID: with all of its threads. A process that was killed loses its command line before its ports, and keeps its number until
# somebody asks what has become of it.
has_ended() {
  local status
  status=$(cat "/proc/$1/status" 2>/dev/null) || return 0
  grep -q '^State:[[:space:]]*[ZX]' <<<"$status" && grep -q '^Threads:[[:space:]]*[01]$' <<<"$status"
}

# end NAME: by SIGKILL. What is killed so is either thrown away, or a test wants to see how it comes back.
end() {
  local pid
  if lives "$1"; then
    pid=$(cat "$dir/$1.pid")
    kill -KILL "$pid" 2>/dev/null || true
    until has_ended "$pid"; do sleep 0.02; done
  fi
  rm -f "$dir/$1.pid"
}

# await NAME WHAT SECONDS COMMAND...: until the command succeeds, while NAME runs.
await() {
  local name=$1 what=$2 end=$((SECONDS + $3))
  shift 3
  until "$@" >/dev/null 2>&1; do
    sleep 0.1
    lives "$name" || fail "$name" "$name died before $what was ready"
    [ $SECONDS -lt $end ] || fail "$name" "$what is not ready in time"
  done
}

# fail NAME MESSAGE: the end, with the end of the log.
fail() {
  say "$2; the end of $dir/$1.log:"
  tail -n 20 "$dir/$1.log" >&2
  exit 1
}
