{{/* What differs between the groups of shards: (list $ group). */}}

{{/* The number of shards of a group. An autoscaler changes it afterwards, so an upgrade keeps the number that is live:
     Helm applies on the server's side, where a number that is no longer rendered would become 1. */}}
{{- define "tickwire.replicas" -}}
{{- $root := index . 0 }}{{ $g := index . 1 }}
{{- $scaling := $root.Values.autoscaling }}
{{- if and $scaling.enabled (gt (int $g.replicas) 0) }}
{{- $name := printf "%s-%s" (include "tickwire.name" $root) $g.name }}
{{- $live := lookup "apps/v1" "StatefulSet" $root.Release.Namespace $name | dig "spec" "replicas" 0 | int }}
{{- $live | default (max (int $g.replicas) (int $scaling.minReplicas)) }}
{{- else }}{{ int $g.replicas }}{{ end }}
{{- end }}

{{/* Settings that differ between shards, and those that are secret. */}}
{{- define "tickwire.environment" -}}
{{- $root := index . 0 }}{{ $g := index . 1 }}
{{- $v := $root.Values }}
- name: POD_INDEX
  valueFrom: {fieldRef: {fieldPath: "metadata.labels['apps.kubernetes.io/pod-index']"}}
- name: TICKWIRE__SHARD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: TICKWIRE__BUILD
  value: {{ include "tickwire.build" (list $root $g.tag) | quote }}
- name: TICKWIRE__LISTEN__URL
  {{- if eq $v.routing.mode "path" }}
  value: wss://{{ $v.host }}/s/{{ $g.name }}/$(POD_INDEX)/
  {{- else }}
  value: wss://{{ $g.name }}-$(POD_INDEX).{{ $v.host }}
  {{- end }}
{{ include "tickwire.url" (dict "name" "TICKWIRE__REDIS__URL" "from" $v.redis) }}
- name: TICKWIRE__REDIS__NAMESPACE
  value: {{ $v.redis.namespace | default $root.Release.Name | quote }}
{{ include "tickwire.url" (dict "name" "TICKWIRE__MONGO__URL" "from" $v.mongo) }}
- name: TICKWIRE__MONGO__DATABASE
  value: {{ $v.mongo.database | quote }}
{{- range $id := $v.tickets.ids }}
- name: TICKWIRE__TICKETS__KEYS__{{ $id | upper }}
  valueFrom: {secretKeyRef: {name: {{ $v.tickets.existingSecret }}, key: {{ $id }}}}
{{- end }}
{{- if $v.auth.existingSecret }}
- name: TICKWIRE__AUTH__SECRET
  valueFrom: {secretKeyRef: {name: {{ $v.auth.existingSecret }}, key: {{ $v.auth.key }}}}
{{- end }}
{{- if $v.admin.existingSecret }}
- name: TICKWIRE__OPERATIONS__TOKEN
  valueFrom: {secretKeyRef: {name: {{ $v.admin.existingSecret }}, key: {{ $v.admin.key }}}}
{{- end }}
{{- if $v.accounts.shards }}
{{ include "tickwire.accountSecrets" $root }}
{{- end }}
{{- end }}
