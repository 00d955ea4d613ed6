#!/bin/sh
# Makes the secrets in a folder that only you can read: ./make_secrets.sh [FOLDER]. What is there stays.
set -eu
umask 077
folder=${1:-$(dirname "$0")/secrets}
mkdir -p "$folder"
for name in postgres_password admin_password flask_key; do
	[ -e "$folder/$name" ] || head -c 24 /dev/urandom | base64 | tr '/+' '_-' >"$folder/$name"
done
if [ ! -e "$folder/s3" ]; then
	printf '[default]\naws_access_key_id = \naws_secret_access_key = \n' >"$folder/s3"
	echo "write the credentials of S3 into $folder/s3"
fi
