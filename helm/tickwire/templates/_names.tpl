{{/* Names, labels, and what is refused. */}}

{{- define "tickwire.name" -}}
{{- $name := .Release.Name }}
{{- if not (contains .Chart.Name $name) }}{{ $name = printf "%s-%s" $name .Chart.Name }}{{ end }}
{{- $name | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "tickwire.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "tickwire.selector" . }}
{{- end }}

{{- define "tickwire.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Shards of every group: what the swarm's pods are not. */}}
{{- define "tickwire.shards" -}}
{{ include "tickwire.selector" . }}
app.kubernetes.io/component: shard
{{- end }}

{{- define "tickwire.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "tickwire.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{/* The image of a tag: (list $ "tag"). */}}
{{- define "tickwire.image" -}}
{{- $root := index . 0 }}{{ $tag := index . 1 }}
{{- $image := $root.Values.image }}
{{- if and $image.digest (not $tag) }}{{ $image.repository }}@{{ $image.digest }}
{{- else }}{{ $image.repository }}:{{ $tag | default $image.tag | default $root.Chart.AppVersion }}{{ end }}
{{- end }}

{{/* Restricted pods: https://kubernetes.io/docs/concepts/security/pod-security-standards/ */}}
{{- define "tickwire.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "tickwire.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* An address that only a secret has, or a plain one: (dict "name" "TICKWIRE__REDIS__URL" "from" .Values.redis). */}}
{{- define "tickwire.url" -}}
- name: {{ .name }}
{{- if .from.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ .from.existingSecret }}, key: {{ .from.key }}}}
{{- else }}
  value: {{ .from.url | quote }}
{{- end }}
{{- end }}

{{/* Where the stores are, and who we are to them: shards and the migration alike. */}}
{{- define "tickwire.stores" -}}
{{ include "tickwire.url" (dict "name" "TICKWIRE__REDIS__URL" "from" .Values.redis) }}
- name: TICKWIRE__REDIS__NAMESPACE
  value: {{ .Values.redis.namespace | default .Release.Name | quote }}
{{ include "tickwire.url" (dict "name" "TICKWIRE__MONGO__URL" "from" .Values.mongo) }}
- name: TICKWIRE__MONGO__DATABASE
  value: {{ .Values.mongo.database | quote }}
{{- end }}

{{/* What cannot be is refused here, with what to do. */}}
{{- define "tickwire.check" -}}
{{- $v := .Values }}
{{- if not $v.host }}{{ fail "host: the name under which players connect is needed, as in --set host=play.game.example" }}{{ end }}
{{- range $name := list "redis" "mongo" }}
{{- $store := index $v $name }}
{{- if not (or $store.url $store.existingSecret) }}{{ fail (printf "%s.url or %s.existingSecret is needed" $name $name) }}{{ end }}
{{- end }}
{{- if not $v.tickets.existingSecret }}{{ fail "tickets.existingSecret is needed: without shared keys nobody comes back to another shard. Make one with: kubectl create secret generic tickwire-tickets --from-literal=current=$(openssl rand -hex 32)" }}{{ end }}
{{- if not (has $v.tickets.current $v.tickets.ids) }}{{ fail "tickets.current must be one of tickets.ids" }}{{ end }}
{{- if not (or $v.auth.guests $v.auth.jwksUrl $v.auth.existingSecret) }}{{ fail "auth: nobody could come in; set auth.jwksUrl, auth.existingSecret or auth.guests" }}{{ end }}
{{- $sum := add $v.termination.preStopSeconds $v.termination.drainSeconds $v.termination.shutdownSeconds $v.termination.flushSeconds | int }}
{{- if lt (int $v.termination.gracePeriodSeconds) $sum }}{{ fail (printf "termination.gracePeriodSeconds: %d is too short; preStop, drain, shutdown and flush take %d" (int $v.termination.gracePeriodSeconds) $sum) }}{{ end }}
{{- if and (eq $v.routing.api "gateway") (not $v.routing.gateway.parentRefs) }}{{ fail "routing.gateway.parentRefs: which Gateway? as in --set routing.gateway.parentRefs[0].name=public; or routing.api=ingress" }}{{ end }}
{{- range $g := $v.groups }}
{{- if gt (int $g.replicas) (int $v.maxShards) }}{{ fail (printf "groups: %s has more replicas than maxShards (%d)" $g.name (int $v.maxShards)) }}{{ end }}
{{- end }}
{{- if and $v.autoscaling.enabled (gt (int $v.autoscaling.maxReplicas) (int $v.maxShards)) }}{{ fail "autoscaling.maxReplicas: more than maxShards" }}{{ end }}
{{- if and $v.autoscaling.enabled (eq $v.autoscaling.kind "keda") (not $v.autoscaling.prometheusUrl) }}{{ fail "autoscaling.prometheusUrl: where is Prometheus?" }}{{ end }}
{{- end }}
