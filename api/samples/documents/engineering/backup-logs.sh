#!/bin/sh
# Copy the logs of ships and piers to Harbour House, keep them for thirteen months, say so when it failed.
# Runs on the machine "dunlin" at 02:40. It runs before the generators' test on Tuesday, not after: in the
# test the wireless bridge to berth 1 drops out for a minute and rsync used to leave half a file behind.
#
# usage: backup-logs.sh [--dry-run]
set -eu

TARGET=/srv/logs
KEEP_DAYS=395
MIN_FREE_MB=2048
SHIPS="tystie marigold shearwater"
LOCK=/run/lock/backup-logs
MAIL_TO=engineering@averillsound.example

DRY=""
[ "${1:-}" = "--dry-run" ] && DRY="--dry-run"

if ! mkdir "$LOCK" 2>/dev/null; then
    echo "another backup is running (remove $LOCK if it is not)" >&2
    exit 75
fi
trap 'rmdir "$LOCK"' EXIT

free_mb=$(df -Pm "$TARGET" | awk 'NR == 2 { print $4 }')
if [ "$free_mb" -lt "$MIN_FREE_MB" ]; then
    echo "only $free_mb MB left on $TARGET, need $MIN_FREE_MB: nothing copied" | mail -s "logs: disk full" "$MAIL_TO"
    exit 28
fi

failed=""
for ship in $SHIPS; do
    # Shearwater sleeps at Kirkhaven from Friday to Sunday and cannot be reached; that is no failure.
    if [ "$ship" = shearwater ] && [ "$(date +%u)" -ge 6 ]; then
        continue
    fi
    rsync $DRY -a --partial-dir=.partial --timeout=90 "logs@$ship.averill.example:/var/log/ship/" "$TARGET/$ship/" \
        || failed="$failed $ship"
done

# The voyage recorder is never deleted here, however old: the law decides that, not this script.
find "$TARGET" -name '*.log.gz' -mtime +"$KEEP_DAYS" ! -path '*/vdr/*' -delete

if [ -n "$failed" ]; then
    echo "no logs from:$failed" | mail -s "logs: backup incomplete" "$MAIL_TO"
    exit 1
fi
