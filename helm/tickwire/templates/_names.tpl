{{/* Names, labels, images, and what pods have in common. */}}

{{/* The release's name. A StatefulSet's name with "-" and a group has at most 52 characters: Kubernetes makes labels of
     63 characters from it. A group has at most 16. */}}
{{- define "tickwire.name" -}}
{{- $v := .Values }}
{{- $chart := $v.nameOverride | default .Chart.Name }}
{{- $name := .Release.Name }}
{{- if not (contains $chart $name) }}{{ $name = printf "%s-%s" $name $chart }}{{ end }}
{{- $v.fullnameOverride | default $name | trunc 35 | trimSuffix "-" }}
{{- end }}

{{- define "tickwire.labels" -}}
{{ include "tickwire.labelsWith" (list .) }}
{{- end }}

{{/* The labels of an object with labels of its own: (list $ .Values.service.labels ...). Later ones win. */}}
{{- define "tickwire.labelsWith" -}}
{{- $root := first . -}}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
{{ include "tickwire.selector" $root }}
{{- $found := deepCopy $root.Values.commonLabels }}
{{- range rest . }}{{ $found = mergeOverwrite $found (deepCopy (. | default dict)) }}{{ end }}
{{- with $found }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "tickwire.selector" -}}
app.kubernetes.io/name: {{ .Values.nameOverride | default .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Selects the shards of every group, and not the pods of the load test. */}}
{{- define "tickwire.shards" -}}
{{ include "tickwire.selector" . }}
app.kubernetes.io/component: shard
{{- end }}

{{/* Annotations of an object: (list $ .Values.service.annotations ...). Later ones win. */}}
{{- define "tickwire.annotations" -}}
{{- $found := deepCopy (first .).Values.commonAnnotations }}
{{- range rest . }}{{ $found = mergeOverwrite $found (deepCopy (. | default dict)) }}{{ end }}
{{- with $found }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "tickwire.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ .Values.serviceAccount.name | default (include "tickwire.name" .) }}
{{- else }}{{ .Values.serviceAccount.name | default "default" }}{{ end }}
{{- end }}

{{/* The tag or digest of a group's image: (list $ .tag). A group's own tag, then the digest, then the image's tag. */}}
{{- define "tickwire.build" -}}
{{- $root := index . 0 }}{{ $tag := index . 1 }}
{{- $tag | default $root.Values.image.digest | default $root.Values.image.tag | default $root.Chart.AppVersion }}
{{- end }}

{{/* The image of a group: (list $ .tag). */}}
{{- define "tickwire.image" -}}
{{- $v := (index . 0).Values }}
{{- $registry := ($v.global | default dict).imageRegistry | default $v.image.registry }}
{{- $build := include "tickwire.build" . }}
{{- with $registry }}{{ . }}/{{ end }}{{ $v.image.repository }}{{ hasPrefix "sha256:" $build | ternary "@" ":" }}{{ $build }}
{{- end }}

{{- define "tickwire.pullSecrets" -}}
{{- $names := list }}
{{- range concat .Values.image.pullSecrets ((.Values.global | default dict).imagePullSecrets | default list) }}
{{- if kindIs "map" . }}{{ $names = append $names .name }}{{ else }}{{ $names = append $names . }}{{ end }}
{{- end }}
{{- with uniq $names }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end }}

{{/* Where pods run, and how they resolve names. */}}
{{- define "tickwire.scheduling" -}}
{{- $v := .Values }}
{{- include "tickwire.pullSecrets" . }}
{{- range $key := list "hostAliases" "dnsPolicy" "dnsConfig" "nodeSelector" "tolerations" "affinity" }}
{{- with index $v $key }}
{{ $key }}:
{{- if kindIs "string" . }} {{ . }}{{ else }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}

{{/* An address that only a Secret holds, or a plain one: (dict "name" "TICKWIRE__REDIS__URL" "from" .Values.redis). */}}
{{- define "tickwire.url" -}}
- name: {{ .name }}
{{- if .from.existingSecret }}
  valueFrom: {secretKeyRef: {name: {{ .from.existingSecret }}, key: {{ .from.key }}}}
{{- else }}
  value: {{ .from.url | quote }}
{{- end }}
{{- end }}
