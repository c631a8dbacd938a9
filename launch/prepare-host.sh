#!/usr/bin/env bash
# Prepares a Linux host for large runs. Says what it changes before it does, and can undo it.
#
#   launch/prepare-host.sh --check          report only; needs no rights
#   sudo launch/prepare-host.sh             change what --check would change
#   sudo launch/prepare-host.sh --undo      put back what was there before
#
# What it looks at:
#   huge pages for shared memory   rows of the weights are found with fewer page-table walks
#   huge pages for private memory  likewise, where a program asks for them
#   size of /dev/shm               the weights, the optimiser's state and the tables lie there
#   open files, locked memory      limits of logins, in /etc/security/limits.d
# Settings under /sys and the size of /dev/shm last until the next boot; the limits stay.
#
# SHM_SIZE=24G sets the size of /dev/shm (default: 90 % of RAM).
set -euo pipefail

ROOT=${DISTLSH_ROOT:-}        # for tests: a folder that stands for /
MOUNT=${DISTLSH_MOUNT:-mount} # for tests
THP=$ROOT/sys/kernel/mm/transparent_hugepage
LIMITS=$ROOT/etc/security/limits.d/90-distlsh.conf
BEFORE=$ROOT/var/lib/distlsh/host-before

mode=apply
changes=0

say() { printf '%s\n' "$*"; }

usage() {
  sed -n '2,17p' "$0" | sed 's/^# \{0,1\}//'
  exit "${1:-0}"
}

chosen() { sed -n 's/.*\[\(.*\)\].*/\1/p' "$1"; }

remember() { # what was there before, once: the first run knows
  mkdir -p "$(dirname "$BEFORE")"
  grep -q "^$1=" "$BEFORE" 2>/dev/null || printf '%s=%s\n' "$1" "$2" >>"$BEFORE"
}

set_thp() { # file, wanted value, values that are good already
  local file=$THP/$1 wanted=$2 good=$3 now
  if [ ! -e "$file" ]; then
    say "skip    huge pages ($1): this kernel has none"
    return
  fi
  now=$(chosen "$file")
  case " $good " in
    *" $now "*) say "ok      huge pages ($1): $now"; return ;;
  esac
  changes=$((changes + 1))
  say "change  huge pages ($1): $now -> $wanted"
  if [ "$mode" = apply ]; then
    remember "$1" "$now"
    printf '%s\n' "$wanted" >"$file" || say "failed  $file cannot be written; is this a container?"
  fi
}

bytes_of() { numfmt --from=iec "${1^^}"; }

set_shm() {
  local ram wanted now
  ram=$(awk '/^MemTotal:/ {print $2 * 1024}' "$ROOT/proc/meminfo")
  wanted=$(awk -v ram="$ram" 'BEGIN {printf "%.0f", ram * 0.9}')
  [ -z "${SHM_SIZE:-}" ] || wanted=$(bytes_of "$SHM_SIZE")
  now=$(df --output=size -B1 /dev/shm 2>/dev/null | tail -n 1 | tr -d ' ')
  now=${now:-0}
  if [ "$now" -ge "$wanted" ]; then
    say "ok      /dev/shm: $(numfmt --to=iec "$now")"
    return
  fi
  changes=$((changes + 1))
  say "change  /dev/shm: $(numfmt --to=iec "$now") -> $(numfmt --to=iec "$wanted")"
  if [ "$mode" = apply ]; then
    remember shm "$now"
    $MOUNT -o "remount,size=$wanted" /dev/shm || say "failed  /dev/shm cannot be mounted again; in a container: --shm-size"
  fi
}

set_limits() {
  local text='# written by distlsh launch/prepare-host.sh
*  soft  nofile   65536
*  hard  nofile   65536
*  soft  memlock  unlimited
*  hard  memlock  unlimited'
  if [ -e "$LIMITS" ] && [ "$(cat "$LIMITS")" = "$text" ]; then
    say "ok      limits: $LIMITS"
    return
  fi
  changes=$((changes + 1))
  say "change  limits of new logins, in $LIMITS: 65536 open files, locked memory unlimited"
  if [ "$mode" = apply ]; then
    remember limits none
    mkdir -p "$(dirname "$LIMITS")"
    printf '%s\n' "$text" >"$LIMITS"
  fi
}

undo() {
  if [ ! -e "$BEFORE" ]; then
    say "nothing to undo: $BEFORE is not there"
    return
  fi
  local name value
  while IFS='=' read -r name value; do
    case "$name" in
      enabled | shmem_enabled)
        say "undo    huge pages ($name): -> $value"
        printf '%s\n' "$value" >"$THP/$name"
        ;;
      shm)
        say "undo    /dev/shm: -> $(numfmt --to=iec "$value")"
        $MOUNT -o "remount,size=$value" /dev/shm
        ;;
      limits)
        say "undo    limits: remove $LIMITS"
        rm -f "$LIMITS"
        ;;
    esac
  done <"$BEFORE"
  rm -f "$BEFORE"
}

for argument in "$@"; do
  case "$argument" in
    --check) mode=check ;;
    --undo) mode=undo ;;
    -h | --help) usage ;;
    *)
      say "prepare-host.sh: unknown argument $argument" >&2
      usage 2 >&2
      ;;
  esac
done

if [ "$mode" != check ] && [ -z "$ROOT" ] && [ "$(id -u)" -ne 0 ]; then
  say "prepare-host.sh: needs root; try: sudo $0 $*, or look first with --check" >&2
  exit 1
fi

if [ "$mode" = undo ]; then
  undo
  exit 0
fi

set_thp shmem_enabled advise "advise always within_size"
set_thp enabled madvise "madvise always"
set_shm
set_limits

if [ "$changes" -eq 0 ]; then
  say "nothing to change"
elif [ "$mode" = check ]; then
  say "$changes to change; with: sudo $0"
else
  say "changed; undo with: sudo $0 --undo"
fi
