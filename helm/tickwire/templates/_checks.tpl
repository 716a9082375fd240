{{/* Refuses values that cannot work, with their names and a remedy. */}}

{{- define "tickwire.check" -}}
{{- include "tickwire.checkRequired" . }}
{{- include "tickwire.checkGroups" . }}
{{- include "tickwire.checkScaling" . }}
{{- include "tickwire.checkSettings" . }}
{{- include "tickwire.checkKeys" . }}
{{- include "tickwire.checkApi" . }}
{{- $t := .Values.termination }}
{{- $sum := add $t.preStopSeconds $t.drainTimeoutSeconds $t.shutdownTimeoutSeconds $t.flushSeconds | int }}
{{- if lt (int $t.gracePeriodSeconds) $sum }}
{{- fail (printf "termination.gracePeriodSeconds: %d is too short; preStop, drain, shutdown and flush take %d" (int $t.gracePeriodSeconds) $sum) }}
{{- end }}
{{- end }}

{{- define "tickwire.checkRequired" -}}
{{- $v := .Values }}
{{- if not $v.host }}{{ fail "host: set the name under which players connect, as in --set host=play.game.example" }}{{ end }}
{{- range $name := list "redis" "mongo" }}
{{- $store := index $v $name }}
{{- if not (or $store.url $store.existingSecret) }}{{ fail (printf "%s.url or %s.existingSecret must be set" $name $name) }}{{ end }}
{{- end }}
{{- range $name, $url := dict "redis" $v.redis.url "mongo" $v.mongo.url "migrate.mongo" $v.migrate.mongo.url }}
{{- if regexMatch "://[^/?]*@" $url }}
{{- fail (printf "%s.url: must not hold a user and a password, which are readable in the pod's specification; put the URL into a Secret and set %s.existingSecret" $name $name) }}
{{- end }}
{{- end }}
{{- if not $v.tickets.existingSecret }}{{ fail "tickets.existingSecret must be set: without shared keys no player can resume on another shard. Create the Secret with: kubectl create secret generic tickwire-tickets --from-literal=current=$(openssl rand -hex 32)" }}{{ end }}
{{- if not (has $v.tickets.current $v.tickets.ids) }}{{ fail "tickets.current must be one of tickets.ids" }}{{ end }}
{{- if not (or $v.auth.guests $v.auth.jwksUrl $v.auth.existingSecret $v.auth.accounts) }}{{ fail "auth: no player could connect; set auth.jwksUrl, auth.existingSecret, auth.accounts or auth.guests" }}{{ end }}
{{- if and (eq $v.routing.api "gateway") (not $v.routing.gateway.parentRefs) }}{{ fail "routing.gateway.parentRefs: name the Gateway, as in --set routing.gateway.parentRefs[0].name=public; or set routing.api=ingress" }}{{ end }}
{{- end }}

{{- define "tickwire.checkGroups" -}}
{{- $v := .Values }}
{{- $names := list }}
{{- range $g := $v.groups }}
{{- if has $g.name $names }}{{ fail (printf "groups: two groups have the name %s" $g.name) }}{{ end }}
{{- if regexMatch "-[0-9]+$" $g.name }}{{ fail (printf "groups: the name %s must not end in a number, as names of shards do" $g.name) }}{{ end }}
{{- if has $g.name (list "loadtest" "api") }}{{ fail (printf "groups: the name %s is used by the chart" $g.name) }}{{ end }}
{{- if gt (int $g.replicas) (int $v.maxShards) }}{{ fail (printf "groups: %s has more replicas than maxShards (%d)" $g.name (int $v.maxShards)) }}{{ end }}
{{- $names = append $names $g.name }}
{{- end }}
{{- end }}

{{- define "tickwire.checkScaling" -}}
{{- $v := .Values }}
{{- $s := $v.autoscaling }}
{{- if gt (int $s.minReplicas) (int $s.maxReplicas) }}{{ fail (printf "autoscaling.minReplicas: must be at most autoscaling.maxReplicas (%d); got %d" (int $s.maxReplicas) (int $s.minReplicas)) }}{{ end }}
{{- if $s.enabled }}
{{- if gt (int $s.maxReplicas) (int $v.maxShards) }}{{ fail (printf "autoscaling.maxReplicas: must be at most maxShards (%d)" (int $v.maxShards)) }}{{ end }}
{{- if and (eq $s.kind "keda") (not $s.prometheusUrl) }}{{ fail "autoscaling.prometheusUrl: must be the URL of Prometheus, which KEDA queries" }}{{ end }}
{{- range $g := $v.groups }}
{{- if gt (int $g.replicas) (int $s.maxReplicas) }}{{ fail (printf "autoscaling.maxReplicas: must be at least the replicas of every group, or turning autoscaling on ends shards; group %s has %d" $g.name (int $g.replicas)) }}{{ end }}
{{- end }}
{{- end }}
{{- end }}

{{/* Refuses settings that the chart sets, and secrets: files/owned-settings.yaml has the values to use instead. */}}
{{- define "tickwire.checkSettings" -}}
{{- $v := .Values }}
{{- $owned := .Files.Get "files/owned-settings.yaml" | fromYaml }}
{{- range $key, $instead := $owned }}
{{- $path := splitList "." $key }}
{{- $section := $v.settings | default dict }}
{{- range initial $path }}{{ $section = index $section . | default dict }}{{ end }}
{{- if hasKey $section (last $path) }}{{ fail (printf "settings.%s: must not be set here; %s" $key $instead) }}{{ end }}
{{- $variable := printf "TICKWIRE__%s" ($key | replace "." "__" | upper) }}
{{- range concat $v.extraEnv $v.migrate.extraEnv $v.api.extraEnv }}
{{- if or (eq (upper .name) $variable) (hasPrefix (printf "%s__" $variable) (upper .name)) }}{{ fail (printf "extraEnv: %s must not be set here; %s" .name $instead) }}{{ end }}
{{- end }}
{{- end }}
{{- if regexMatch "://[^/?\"]*@" ($v.settings | default dict | toRawJson) }}
{{- fail "settings: a URL holds a user and a password, and settings are no secret; set it in extraEnv, from a Secret" }}
{{- end }}
{{- end }}

{{/* Refuses keys that a pod would have twice: server-side apply, which Helm 4 uses, refuses such pods. */}}
{{- define "tickwire.checkKeys" -}}
{{- $v := .Values }}
{{- $containers := concat $v.initContainers $v.extraContainers }}
{{- range $one := list
  (dict "value" "extraEnv" "key" "name" "entries" $v.extraEnv "known" (list "POD_INDEX"))
  (dict "value" "api.extraEnv" "key" "name" "entries" $v.api.extraEnv "known" list)
  (dict "value" "migrate.extraEnv" "key" "name" "entries" $v.migrate.extraEnv "known" list)
  (dict "value" "extraVolumes" "key" "name" "entries" $v.extraVolumes "known" (list "settings" "tmp" "recordings"))
  (dict "value" "extraVolumeMounts" "key" "mountPath" "entries" $v.extraVolumeMounts "known" (list "/etc/tickwire" "/tmp" "/var/lib/tickwire"))
  (dict "value" "initContainers, extraContainers" "key" "name" "entries" $containers "known" (list "shard"))
  (dict "value" "hostAliases" "key" "ip" "entries" $v.hostAliases "known" list) }}
{{- $known := $one.known }}
{{- range $one.entries }}
{{- $key := index . $one.key }}
{{- if has $key $known }}{{ fail (printf "%s: the %s %s is used twice, or by the chart; choose another one" $one.value $one.key $key) }}{{ end }}
{{- $known = append $known $key }}
{{- end }}
{{- end }}
{{- $given := dict "commonLabels" $v.commonLabels "podLabels" $v.podLabels "service.labels" $v.service.labels "routing.labels" $v.routing.labels }}
{{- range $object, $one := $v.monitoring }}{{ $_ := set $given (printf "monitoring.%s.labels" $object) $one.labels }}{{ end }}
{{- range $value, $labels := $given }}
{{- range $key, $_ := $labels }}
{{- if regexMatch "^(app\\.kubernetes\\.io/(name|instance|component|version|managed-by)|helm\\.sh/chart|tickwire/.*)$" $key }}
{{- fail (printf "%s: the chart sets %s itself; choose another label" $value $key) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
