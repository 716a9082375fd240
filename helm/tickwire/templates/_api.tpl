{{/* Names, selectors, environment and checks of the pods of the role api. */}}

{{- define "tickwire.apiName" -}}
{{ include "tickwire.name" . }}-api
{{- end }}

{{/* Selects the pods of the role api. */}}
{{- define "tickwire.apiSelector" -}}
{{ include "tickwire.selector" . }}
app.kubernetes.io/component: api
{{- end }}

{{/* The number of pods. An autoscaler changes it afterwards, so an upgrade keeps the number that is live. */}}
{{- define "tickwire.apiReplicas" -}}
{{- $scaling := .Values.api.autoscaling }}
{{- if $scaling.enabled }}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (include "tickwire.apiName" .) | dig "spec" "replicas" 0 | int }}
{{- $live | default (max (int .Values.api.replicas) (int $scaling.minReplicas)) }}
{{- else }}{{ int .Values.api.replicas }}{{ end }}
{{- end }}

{{/* The stores, and the secret of the accounts. */}}
{{- define "tickwire.apiEnvironment" -}}
{{- $v := .Values }}
- name: TICKWIRE__SHARD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: TICKWIRE__BUILD
  value: {{ include "tickwire.build" (list . "") | quote }}
{{ include "tickwire.url" (dict "name" "TICKWIRE__REDIS__URL" "from" $v.redis) }}
- name: TICKWIRE__REDIS__NAMESPACE
  value: {{ $v.redis.namespace | default .Release.Name | quote }}
{{ include "tickwire.url" (dict "name" "TICKWIRE__MONGO__URL" "from" $v.mongo) }}
- name: TICKWIRE__MONGO__DATABASE
  value: {{ $v.mongo.database | quote }}
{{- range $id := $v.tickets.ids }}
- name: TICKWIRE__TICKETS__KEYS__{{ $id | upper }}
  valueFrom: {secretKeyRef: {name: {{ $v.tickets.existingSecret }}, key: {{ $id }}}}
{{- end }}
{{ include "tickwire.accountSecrets" . }}
{{- end }}

{{/* The secret of the accounts, and the one before it while it is replaced. */}}
{{- define "tickwire.accountSecrets" -}}
{{- $accounts := .Values.accounts -}}
- name: TICKWIRE__ACCOUNTS__SECRET
  valueFrom: {secretKeyRef: {name: {{ $accounts.existingSecret }}, key: {{ $accounts.key }}}}
{{- with $accounts.previousKey }}
- name: TICKWIRE__ACCOUNTS__PREVIOUS_SECRETS
  valueFrom: {secretKeyRef: {name: {{ $accounts.existingSecret }}, key: {{ . }}}}
{{- end }}
{{- end }}

{{/* Refuses values of the role api that cannot work. */}}
{{- define "tickwire.checkApi" -}}
{{- $v := .Values }}
{{- $a := $v.api }}
{{- if $a.enabled }}
{{- if not $v.accounts.existingSecret }}{{ fail "accounts.existingSecret must be set, because api.enabled is. Create the Secret with: kubectl create secret generic tickwire-accounts --from-literal=secret=$(openssl rand -hex 32)" }}{{ end }}
{{- if gt (int $a.autoscaling.minReplicas) (int $a.autoscaling.maxReplicas) }}{{ fail (printf "api.autoscaling.minReplicas: must be at most api.autoscaling.maxReplicas (%d); got %d" (int $a.autoscaling.maxReplicas) (int $a.autoscaling.minReplicas)) }}{{ end }}
{{- if and $a.autoscaling.enabled (gt (int $a.replicas) (int $a.autoscaling.maxReplicas)) }}{{ fail (printf "api.autoscaling.maxReplicas: must be at least api.replicas (%d)" (int $a.replicas)) }}{{ end }}
{{- $sum := add $v.termination.preStopSeconds $a.drainTimeoutSeconds $v.termination.flushSeconds | int }}
{{- if lt (int $a.gracePeriodSeconds) $sum }}{{ fail (printf "api.gracePeriodSeconds: %d is too short; preStop, drain and flush take %d" (int $a.gracePeriodSeconds) $sum) }}{{ end }}
{{- if eq $a.host $v.host }}{{ fail "api.host: must be another name than host; leave it empty to serve both under host" }}{{ end }}
{{- else if $v.auth.accounts }}{{ fail "auth.accounts: needs the role api, which has the accounts; set api.enabled" }}
{{- else if and $v.accounts.shards (not $v.accounts.existingSecret) }}{{ fail "accounts.existingSecret must be set, because accounts.shards is" }}
{{- end }}
{{- end }}
