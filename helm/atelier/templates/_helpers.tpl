{{/* What the names of all objects begin with. They end in up to 23 more characters; a name may have 63. */}}
{{- define "atelier.fullname" -}}
{{- $name := .Release.Name -}}
{{- if not (contains "atelier" $name) }}{{ $name = printf "%s-atelier" $name }}{{ end -}}
{{- .Values.fullnameOverride | default $name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* Labels that select pods; they can never change. Takes root and component. */}}
{{- define "atelier.selector" -}}
app.kubernetes.io/name: atelier
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{/* Labels of an object. Takes root and component. */}}
{{- define "atelier.labels" -}}
{{ include "atelier.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{/* An image's reference. Takes root and image. */}}
{{- define "atelier.image" -}}
{{- if .image.digest -}}
{{ .image.repository }}@{{ .image.digest }}
{{- else -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* A time's whole seconds; 0 if it is not a time, which the validation reports. */}}
{{- define "atelier.seconds" -}}
{{- if regexMatch "^([0-9]{1,4}\\.)?[0-9]{2}:[0-9]{2}(:[0-9]{2})?$" . -}}
{{- $days := 0 -}}
{{- $rest := . -}}
{{- if contains "." . -}}
{{- $days = regexFind "^[0-9]+" . | atoi -}}
{{- $rest = regexReplaceAll "^[0-9]+\\." . "" -}}
{{- end -}}
{{- $parts := splitList ":" (printf "%s:00" $rest) -}}
{{- $minutes := add (mul $days 1440) (mul (index $parts 0 | atoi) 60) (index $parts 1 | atoi) -}}
{{- add (mul $minutes 60) (index $parts 2 | atoi) -}}
{{- else -}}
0
{{- end -}}
{{- end }}

{{/* The security of a pod, for the restricted standard. */}}
{{- define "atelier.podSecurity" -}}
runAsNonRoot: true
runAsUser: {{ . }}
runAsGroup: {{ . }}
fsGroup: {{ . }}
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The security of a container, for the restricted standard. */}}
{{- define "atelier.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/*
The three questions to a process. Started: has it begun, however long that takes? Ready: may it get requests, which
depends on others? Live: must it be restarted, which must never depend on others? Takes the seconds of a start.
*/}}
{{- define "atelier.probes" -}}
startupProbe:
  httpGet: {path: /health/started, port: metrics}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: {{ div (add . 1) 2 | max 1 }}
readinessProbe:
  httpGet: {path: /health/ready, port: metrics}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /health/live, port: metrics}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
{{- end }}

{{/* Prefers to spread pods over zones and nodes, and never keeps one from running. Takes the selecting labels. */}}
{{- define "atelier.spread" -}}
{{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels: {{- $ | nindent 6 }}
{{- end }}
{{- end }}

{{/* Where a pod may run. Takes nodeSelector, tolerations and affinity. */}}
{{- define "atelier.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The name of the Secret with the cluster's secrets. */}}
{{- define "atelier.secret" -}}
{{- .Values.secrets.existing | default (include "atelier.fullname" .) -}}
{{- end }}

{{/* A variable from a Secret. Takes variable, secret, key and, if the key may be missing, optional. */}}
{{- define "atelier.secretVariable" -}}
- name: {{ .variable }}
  valueFrom:
    secretKeyRef: {name: {{ .secret }}, key: {{ .key }}{{ if hasKey . "optional" }}, optional: true{{ end }}}
{{- end }}

{{/* The variables that silos and gateways have in common. */}}
{{- define "atelier.clusterVariables" -}}
{{- $secret := include "atelier.secret" . -}}
- {name: Cluster__Id, value: {{ .Values.clusterId | quote }}}
{{ include "atelier.secretVariable" (dict "variable" "Cluster__Secret" "secret" $secret "key" "cluster-secret") }}
# Only while the secret is rotated.
{{ include "atelier.secretVariable" (dict "variable" "Cluster__AcceptedSecret" "secret" $secret
  "key" "cluster-secret-accepted" "optional" true) }}
{{- if .Values.redis.builtin.enabled }}
{{ include "atelier.secretVariable" (dict "variable" "REDIS_PASSWORD" "secret" $secret "key" "redis-password") }}
- {name: Store__Redis, value: "{{ include "atelier.fullname" . }}-redis:6379,password=$(REDIS_PASSWORD)"}
{{- else }}
{{- $external := .Values.redis.external }}
{{ include "atelier.secretVariable" (dict "variable" "Store__Redis" "secret" $external.existingSecret
  "key" $external.key) }}
{{- end }}
- {name: Metrics__Address, value: 0.0.0.0}
- {name: Metrics__Port, value: "9090"}
- {name: Logging__Console__FormatterName, value: {{ .Values.logFormat }}}
{{- with .Values.otlpEndpoint }}
- {name: OTEL_EXPORTER_OTLP_ENDPOINT, value: {{ . | quote }}}
{{- end }}
{{- end }}

{{/* The variables of the blob store. */}}
{{- define "atelier.blobVariables" -}}
{{- $azure := .Values.blobs.azure -}}
{{- if $azure.endpoint }}
- {name: Blobs__Endpoint, value: {{ $azure.endpoint | quote }}}
- {name: Blobs__Container, value: {{ $azure.container | quote }}}
{{- else if $azure.existingSecret }}
{{ include "atelier.secretVariable" (dict "variable" "Blobs__Azure" "secret" $azure.existingSecret "key" $azure.key) }}
- {name: Blobs__Container, value: {{ $azure.container | quote }}}
{{- else }}
- {name: Blobs__Folder, value: /blobs}
{{- end }}
{{- end }}

{{/* The claim of the blobs' volume; empty if blobs are stored in Azure. */}}
{{- define "atelier.blobClaim" -}}
{{- $volume := .Values.blobs.volume -}}
{{- if $volume.existingClaim }}{{ $volume.existingClaim }}
{{- else if $volume.create }}{{ include "atelier.fullname" . }}-blobs
{{- end -}}
{{- end }}

{{/* Variables of maps of settings, of which later ones win: Section:Key becomes Section__Key. */}}
{{- define "atelier.config" -}}
{{- $all := dict -}}
{{- range . -}}
{{- range $key, $value := . }}{{ $_ := set $all $key $value }}{{ end -}}
{{- end -}}
{{- range $key, $value := $all }}
- {name: {{ replace ":" "__" $key }}, value: {{ include "atelier.text" $value | quote }}}
{{- end }}
{{- end }}

{{/* A value as text; whole numbers, which templates see as floating-point, without an exponent. */}}
{{- define "atelier.text" -}}
{{- if kindIs "float64" . -}}
{{- if eq . (floor .) }}{{ int64 . }}{{ else }}{{ . }}{{ end -}}
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end }}

{{/* The name of a priority class; empty if there is none. Takes root and class. */}}
{{- define "atelier.priorityClass" -}}
{{- if .root.Values.priorityClasses.create -}}
{{ printf "%s-%s-%s" .root.Release.Namespace (include "atelier.fullname" .root) .class }}
{{- else -}}
{{ (get .root.Values.priorityClasses .class).name }}
{{- end -}}
{{- end }}

{{/* The number of gateways at most. */}}
{{- define "atelier.gatewaysMax" -}}
{{- ternary .Values.gateway.autoscaling.max .Values.gateway.replicas .Values.gateway.autoscaling.enabled | int -}}
{{- end }}

{{/* A pool with its defaults, as YAML. */}}
{{- define "atelier.pool" -}}
{{- $defaults := dict "name" "" "roles" list "models" list "min" 1 "spot" false "targetWait" "00:00:30"
  "coldStart" "00:01:00" "accelerator" dict "device" dict "cacheSize" "20Gi" "resources" dict "nodeSelector" dict
  "tolerations" list "affinity" dict "config" dict "shutdownTimeout" .root.Values.silo.shutdownTimeout -}}
{{- $pool := deepCopy .pool -}}
{{- range $key, $value := $defaults -}}
{{- if not (hasKey $pool $key) }}{{ $_ := set $pool $key $value }}{{ end -}}
{{- end -}}
{{- if not (hasKey $pool "max") }}{{ $_ := set $pool "max" $pool.min }}{{ end -}}
{{- toYaml $pool -}}
{{- end }}
