{{/* The settings of the shards that are not secret, as TOML. The environment holds the rest, and overrides it. */}}

{{/* A table of TOML and its inner tables. Helm's toToml writes every number as a float, and a shard refuses 20000.0 for
     a whole number. JSON has no such difference, and its numbers, texts, booleans and lists are TOML. */}}
{{- define "tickwire.toml" -}}
{{- include "tickwire.tomlTable" (list "" .) }}
{{- end }}

{{/* (list PREFIX table): the prefix of the names of inner tables. */}}
{{- define "tickwire.tomlTable" -}}
{{- $prefix := index . 0 }}{{ $table := index . 1 }}
{{- range $key, $value := $table }}
{{- if not (kindIs "map" $value) }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{- end }}
{{- range $key, $value := $table }}
{{- if kindIs "map" $value }}

[{{ $prefix }}{{ $key }}]
{{- include "tickwire.tomlTable" (list (printf "%s%s." $prefix $key) $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- define "tickwire.settings" -}}
{{- $v := .Values -}}
{{- $own := dict
  "rooms" $v.rooms
  "region" $v.region
  "drain_timeout_s" $v.termination.drainTimeoutSeconds
  "shutdown_timeout_s" $v.termination.shutdownTimeoutSeconds
  "listen" (dict "host" "0.0.0.0" "port" 8080 "plaintext" true)
  "operations" (dict "host" "0.0.0.0" "port" 9090)
  "tickets" (dict "current" (lower $v.tickets.current))
  "auth" (dict "guests" $v.auth.guests "jwks_url" $v.auth.jwksUrl "audience" $v.auth.audience "issuer" $v.auth.issuer)
  "logging" (dict "format" "json") -}}
{{- if $v.auth.accounts }}{{ $_ := set $own.auth "accounts" true }}{{ end }}
{{- if $v.api.enabled }}
{{- $_ := set $own "api" (dict "host" "0.0.0.0" "port" 8090 "operations_port" 9090 "plaintext" true
  "player_url" (printf "wss://%s" $v.host) "drain_timeout_s" $v.api.drainTimeoutSeconds) }}
{{- end }}
{{- if $v.recordings.enabled }}
{{- $bytes := mul (int $v.recordings.sizeMiB) 1048576 }}
{{- $_ := set $own "recordings" (dict "directory" "/var/lib/tickwire/recordings" "directory_bytes_max" $bytes) }}
{{- end }}
{{ include "tickwire.toml" (mergeOverwrite ($v.settings | default dict | deepCopy) $own) | trim }}
{{- end }}

{{/* The name of the ConfigMap has a digest of its content. A pod reads the same settings as long as it lives, also when
     its container restarts after a later upgrade. */}}
{{- define "tickwire.settingsName" -}}
{{ include "tickwire.name" . }}-settings-{{ include "tickwire.settings" . | sha256sum | trunc 10 }}
{{- end }}
