#!/bin/sh
# Create the secrets of compose.yaml in the directory `secrets`, unless it exists.
set -eu
cd "$(dirname "$0")"
mkdir -m 700 secrets # only its owner reads the files; the containers, with other users, see each file by itself
cd secrets
password=$(openssl rand -hex 32)
printf %s "$password" > hexapost_password
printf %s "postgresql+asyncpg://hexapost:$password@postgres:5432/hexapost" > DATABASE_URL
printf %s "1:$(openssl rand -hex 32)" > HEXAPOST_API_KEY_PEPPERS
openssl rand -hex 32 > HEXAPOST_CURSOR_SECRET
openssl rand -hex 32 > postgres_password
openssl rand -hex 16 > grafana_password
chmod 644 ./*
