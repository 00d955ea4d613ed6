#!/bin/sh
# Brings back what backup.sh saved: ./restore.sh FOLDER/<time>.dump. Stop MLflow before, and start it again afterwards.
# What is in the database is replaced; artifacts that the backup does not have stay.
set -eu
. "$(dirname "$0")/environment.sh"
[ -f "$1" ] || { echo "error: $1: no such backup" >&2; exit 1; }
rclone copy --quiet "$(dirname "$1")/artifacts" ":s3:${KWS_ARTIFACTS#s3://}"
pg_restore --clean --if-exists --no-owner --single-transaction --dbname="$PGDATABASE" "$1"
echo "restored: $1"
