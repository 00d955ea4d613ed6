#!/bin/sh
# Saves the server: ./backup.sh FOLDER. Users, runs and models go into FOLDER/<time>.dump, artifacts into
# FOLDER/artifacts. The dump comes first, so that each artifact it names is there. Nothing in FOLDER is removed.
set -eu
. "$(dirname "$0")/environment.sh"
umask 077
mkdir -p "$1/artifacts"
dump="$1/$(date -u +%Y-%m-%dT%H-%M-%SZ).dump"
trap 'rm -f "$dump.partial"' EXIT
pg_dump --format=custom --file="$dump.partial"
rclone copy --quiet ":s3:${KWS_ARTIFACTS#s3://}" "$1/artifacts"
mv "$dump.partial" "$dump"
echo "saved: $dump"
