{{/*
Rules that values.schema.json can't express. All faults are reported at once, each with its value and what would be
right. Templates expect valid values, so this must have no error of its own for values that the schema admits.
*/}}
{{- define "atelier.validate" -}}
{{- $faults := concat
  (include "atelier.faultsOfTimes" . | fromYamlArray)
  (include "atelier.faultsOfStores" . | fromYamlArray)
  (include "atelier.faultsOfSecrets" . | fromYamlArray)
  (include "atelier.faultsOfModels" . | fromYamlArray)
  (include "atelier.faultsOfPools" . | fromYamlArray)
  (include "atelier.faultsOfGateways" . | fromYamlArray)
  (include "atelier.faultsOfConfig" . | fromYamlArray) -}}
{{- if $faults }}{{ fail (printf "the values have faults:\n- %s" (join "\n- " $faults)) }}{{ end -}}
{{- end }}

{{- define "atelier.isTime" -}}
{{- if regexMatch "^([0-9]{1,4}\\.)?[0-9]{2}:[0-9]{2}(:[0-9]{2})?$" . }}yes{{ end -}}
{{- end }}

{{- define "atelier.faultsOfTimes" -}}
{{- $faults := list -}}
{{- $times := dict
  "gateway.preStop" .Values.gateway.preStop
  "gateway.shutdownTimeout" .Values.gateway.shutdownTimeout
  "silo.startTimeout" .Values.silo.startTimeout
  "silo.drainTimeout" .Values.silo.drainTimeout
  "silo.leaveTimeout" .Values.silo.leaveTimeout
  "silo.shutdownTimeout" .Values.silo.shutdownTimeout
  "autoscaling.cooldown" .Values.autoscaling.cooldown
  "autoscaling.pollingInterval" .Values.autoscaling.pollingInterval -}}
{{- range $index, $given := .Values.pools -}}
{{- range list "targetWait" "coldStart" "shutdownTimeout" -}}
{{- if hasKey $given . }}{{ $_ := set $times (printf "pools[%d].%s" $index .) (get $given .) }}{{ end -}}
{{- end -}}
{{- end -}}
{{- range $name, $time := $times -}}
{{- if not (include "atelier.isTime" $time) -}}
{{- $faults = append $faults (printf "%s is %q; it must be a time of whole seconds in quotes, such as \"00:00:25\"."
  $name $time) -}}
{{- end -}}
{{- end -}}
{{- $limits := dict "silo.shutdownTimeout" .Values.silo.shutdownTimeout -}}
{{- range $index, $given := .Values.pools -}}
{{- with get $given "shutdownTimeout" }}{{ $_ := set $limits (printf "pools[%d].shutdownTimeout" $index) . }}{{ end -}}
{{- end -}}
{{- $drain := include "atelier.seconds" .Values.silo.drainTimeout | int -}}
{{- $leave := include "atelier.seconds" .Values.silo.leaveTimeout | int -}}
{{- range $name, $time := $limits -}}
{{- if include "atelier.isTime" $time -}}
{{- $seconds := include "atelier.seconds" $time | int -}}
{{- if le $seconds (add $drain 1 | int) -}}
{{- $faults = append $faults (printf
  "%s is %s; it must be more than 1 s longer than silo.drainTimeout (%s), in which workers return their work."
  $name $time $.Values.silo.drainTimeout) -}}
{{- end -}}
{{- if le $seconds $leave -}}
{{- $faults = append $faults (printf "%s is %s; it must be longer than silo.leaveTimeout (%s)."
  $name $time $.Values.silo.leaveTimeout) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end }}

{{- define "atelier.faultsOfStores" -}}
{{- $faults := list -}}
{{- $azure := .Values.blobs.azure -}}
{{- $volume := .Values.blobs.volume -}}
{{- $stores := compact (list (ternary "blobs.azure.endpoint" "" (ne $azure.endpoint ""))
  (ternary "blobs.azure.existingSecret" "" (ne $azure.existingSecret ""))
  (ternary "blobs.volume.existingClaim" "" (ne $volume.existingClaim ""))
  (ternary "blobs.volume.create" "" $volume.create)) -}}
{{- if ne (len $stores) 1 -}}
{{- $faults = append $faults (printf
  "blobs sets %s; it must set exactly one of %s, %s, blobs.volume.existingClaim and blobs.volume.create."
  (join " and " $stores | default "no store") "blobs.azure.endpoint" "blobs.azure.existingSecret") -}}
{{- end -}}
{{- if and $azure.endpoint (not (hasPrefix "https://" $azure.endpoint)) -}}
{{- $faults = append $faults (printf
  "blobs.azure.endpoint is %s; it must be the URL of the account's blob service, such as %s." $azure.endpoint
  "https://pictures.blob.core.windows.net") -}}
{{- end -}}
{{- if and $azure.endpoint (not $azure.clientId) -}}
{{- $faults = append $faults (printf
  "blobs.azure.clientId is empty; with blobs.azure.endpoint it must be the client ID of the silos' managed identity.")
  -}}
{{- end -}}
{{- $external := .Values.redis.external.existingSecret -}}
{{- if and .Values.redis.builtin.enabled $external -}}
{{- $faults = append $faults (printf
  "redis.builtin.enabled is true and redis.external.existingSecret is %s; turn the former off or leave the latter out."
  $external) -}}
{{- end -}}
{{- if not (or .Values.redis.builtin.enabled $external) -}}
{{- $faults = append $faults (printf "redis.external.existingSecret is empty; %s"
  "it must be the name of a Secret with a connection string, because redis.builtin.enabled is false.") -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end }}

{{/* Secrets are looked up, so this finds nothing where the cluster is not reached. It never repeats a secret. */}}
{{- define "atelier.faultsOfSecrets" -}}
{{- $faults := list -}}
{{- $builtin := .Values.redis.builtin.enabled -}}
{{- $existing := .Values.secrets.existing -}}
{{- $wanted := list -}}
{{- if $existing -}}
{{- range concat (list "cluster-secret" "admin-key") (ternary (list "redis-password") list $builtin) -}}
{{- $wanted = append $wanted (list "secrets.existing" $existing .) -}}
{{- end -}}
{{- $data := get (lookup "v1" "Secret" .Release.Namespace $existing | default dict) "data" | default dict -}}
{{- if hasKey $data "cluster-secret-accepted" -}}
{{- $wanted = append $wanted (list "secrets.existing" $existing "cluster-secret-accepted") -}}
{{- if eq (get $data "cluster-secret-accepted") (get $data "cluster-secret") -}}
{{- $faults = append $faults (printf "secrets.existing is %s; its key cluster-secret-accepted must differ from %s."
  $existing "cluster-secret, or be left out") -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- with .Values.redis.external -}}
{{- if and .existingSecret (not $builtin) -}}
{{- $wanted = append $wanted (list "redis.external.existingSecret" .existingSecret .key) -}}
{{- end -}}
{{- end -}}
{{- with .Values.blobs.azure -}}
{{- if .existingSecret -}}
{{- $wanted = append $wanted (list "blobs.azure.existingSecret" .existingSecret .key) -}}
{{- end -}}
{{- end -}}
{{- range $wanted -}}
{{- $found := lookup "v1" "Secret" $.Release.Namespace (index . 1) | default dict -}}
{{- $key := index . 2 -}}
{{- if $found -}}
{{- $data := get $found "data" | default dict -}}
{{- $text := get $data $key | b64dec -}}
{{- $place := printf "%s is %s; its key %s" (index . 0) (index . 1) $key -}}
{{- if not (hasKey $data $key) -}}
{{- $faults = append $faults (printf "%s is missing. It has %s." $place
  (keys $data | sortAlpha | join ", " | default "no keys")) -}}
{{- else if eq $text "" -}}
{{- $faults = append $faults (printf "%s must not be empty." $place) -}}
{{- else if and (hasPrefix "cluster-secret" $key)
  (or (not (regexMatch "^([A-Za-z0-9+/]{4})*([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$" $text))
    (lt (b64dec $text | len) 32)) -}}
{{- $faults = append $faults (printf "%s must be 32 bytes or more in base64." $place) -}}
{{- else if and (eq $key "admin-key") (not (regexMatch "^[^[:space:]]{32,256}$" $text)) -}}
{{- $faults = append $faults (printf "%s must have 32 to 256 characters and no white space." $place) -}}
{{- else if and (eq $key "redis-password") (not (regexMatch "^[A-Za-z0-9]{16,256}$" $text)) -}}
{{- $faults = append $faults (printf "%s must be 16 to 256 letters and digits." $place) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end }}

{{- define "atelier.faultsOfModels" -}}
{{- $faults := list -}}
{{- $fields := dict "volume" (list "claim" "subPath") "image" (list "image" "pullPolicy" "subPath")
  "blob" (list "digest") -}}
{{- range $name, $model := .Values.models -}}
{{- $model = $model | default dict -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]{0,38}[a-z0-9])?$" $name) -}}
{{- $faults = append $faults (printf
  "models has the name %s; it must be 1 to 40 lower-case letters, digits and hyphens, without a hyphen at an end."
  $name) -}}
{{- end -}}
{{- if not (hasKey $fields (get $model "source" | toString)) -}}
{{- $faults = append $faults (printf "models.%s.source is missing; it must be volume, image or blob." $name) -}}
{{- else -}}
{{- $own := get $fields $model.source -}}
{{- if not (get $model (first $own)) -}}
{{- $faults = append $faults (printf "models.%s.%s is missing; source %s requires it." $name (first $own)
  $model.source) -}}
{{- end -}}
{{- range $field, $value := omit $model "source" -}}
{{- if not (has $field $own) -}}
{{- $faults = append $faults (printf "models.%s.%s does not apply to source %s, which has %s." $name $field
  $model.source (join ", " $own)) -}}
{{- end -}}
{{- end -}}
{{- with get $model "digest" -}}
{{- if not (regexMatch "^[0-9a-f]{64}$" .) -}}
{{- $faults = append $faults (printf
  "models.%s.digest is %s; it must be the model's SHA-256 in 64 lower-case hexadecimal digits." $name .) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end }}

{{- define "atelier.faultsOfPools" -}}
{{- $faults := list -}}
{{- $names := list -}}
{{- $models := .Values.models | default dict -}}
{{- $draws := false -}}
{{- range $index, $given := .Values.pools -}}
{{- $pool := include "atelier.pool" (dict "root" $ "pool" $given) | fromYaml -}}
{{- $place := printf "pools[%d]" $index -}}
{{- $name := $pool.name | default "" -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]{0,18}[a-z0-9])?$" $name) -}}
{{- $faults = append $faults (printf
  "%s.name is %q; it must be 1 to 20 lower-case letters, digits and hyphens, beginning with a letter." $place $name) -}}
{{- else if has $name (list "control" "gateway" "redis") -}}
{{- $faults = append $faults (printf "%s.name is %s, which another part of the cluster has; choose a different name."
  $place $name) -}}
{{- else if has $name $names -}}
{{- $faults = append $faults (printf "%s.name is %s, which another pool has; each pool must have a name of its own."
  $place $name) -}}
{{- end -}}
{{- $names = append $names $name -}}
{{- if not $pool.roles -}}
{{- $faults = append $faults (printf "%s.roles is empty; it must have inference, training or both." $place) -}}
{{- end -}}
{{- if gt (int $pool.min) (int $pool.max) -}}
{{- $faults = append $faults (printf "%s.min is %d; it must be at most max (%d)." $place (int $pool.min)
  (int $pool.max)) -}}
{{- end -}}
{{- if lt (int $pool.max) 1 -}}
{{- $faults = append $faults (printf "%s.max is 0; it must be 1 or more." $place) -}}
{{- end -}}
{{- if and (not $.Values.autoscaling.enabled) (lt (int $pool.min) 1) -}}
{{- $faults = append $faults (printf
  "%s.min is 0; it must be 1 or more, because without autoscaling.enabled nothing would start a silo." $place) -}}
{{- end -}}
{{- if has "inference" $pool.roles -}}
{{- if $pool.models }}{{ $draws = true }}{{ end -}}
{{- if not $pool.models -}}
{{- $faults = append $faults (printf
  "%s.models is empty; a pool with the inference role must have one or more names of models." $place) -}}
{{- end -}}
{{- end -}}
{{- range $pool.models -}}
{{- if not (hasKey $models .) -}}
{{- $faults = append $faults (printf "%s.models has %s; it must be a name of models, which has %s." $place .
  (keys $models | sortAlpha | join ", " | default "none")) -}}
{{- end -}}
{{- end -}}
{{- if and $pool.spot (not $.Values.spot.provider) -}}
{{- $faults = append $faults (printf "spot.provider is empty; it must be azure, aws or gcp, because %s.spot is true."
  $place) -}}
{{- end -}}
{{- if not (regexMatch "^[1-9][0-9]{0,5}(Mi|Gi)$" $pool.cacheSize) -}}
{{- $faults = append $faults (printf "%s.cacheSize is %s; it must be a size such as 20Gi or 512Mi." $place
  $pool.cacheSize) -}}
{{- end -}}
{{- end -}}
{{- if not $draws -}}
{{- $faults = append $faults (printf "pools has none that draws; at least one must have %s and one or more models."
  "the role inference") -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end }}

{{- define "atelier.faultsOfGateways" -}}
{{- $faults := list -}}
{{- with .Values.gateway -}}
{{- if gt (int .autoscaling.min) (int .autoscaling.max) -}}
{{- $faults = append $faults (printf "gateway.autoscaling.min is %d; it must be at most gateway.autoscaling.max (%d)."
  (int .autoscaling.min) (int .autoscaling.max)) -}}
{{- end -}}
{{- if and .autoscaling.enabled (not (dig "requests" "cpu" "" .resources)) -}}
{{- $faults = append $faults (printf "gateway.resources.requests.cpu is missing; gateway.autoscaling needs it, %s"
  "for example 500m.") -}}
{{- end -}}
{{- end -}}
{{- with .Values.ingress -}}
{{- if and .enabled (not .host) -}}
{{- $faults = append $faults
  "ingress.host is empty; it must be the host name of the API, because ingress.enabled is true." -}}
{{- end -}}
{{- if and .tlsSecret (not .enabled) -}}
{{- $faults = append $faults
  "ingress.tlsSecret has no effect; set ingress.enabled, or leave it out and let the Gateway of httpRoute do TLS." -}}
{{- end -}}
{{- end -}}
{{- if and .Values.httpRoute.enabled (not .Values.httpRoute.parentRefs) -}}
{{- $faults = append $faults
  "httpRoute.parentRefs is empty; it must have one or more Gateways, for example [{name: public, namespace: gateways}]."
  -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end }}

{{/* Settings that the chart makes of other values, with these values. */}}
{{- define "atelier.ownKeys" -}}
Blobs:Azure: blobs.azure.existingSecret
Blobs:Container: blobs.azure.container
Blobs:Endpoint: blobs.azure.endpoint
Blobs:Folder: blobs.volume
Cluster:AcceptedSecret: secrets.existing
Cluster:Id: clusterId
Cluster:Secret: secrets.existing
Device:MemoryMegabytes: pools[].device.memoryMegabytes
Device:Name: pools[].device.name
Device:Rows: pools[].device.rows
Device:Slots: pools[].device.slots
Device:Threads: pools[].device.threads
Device:Work: pools[].device.work
Gateway:Address: nothing, because it must be 0.0.0.0
Gateway:AdminKey: secrets.existing
{{- if or .Values.ingress.enabled .Values.httpRoute.enabled }}
Gateway:ConnectionsPerAddress: nothing, because it must be 0 behind ingress or httpRoute
{{- end }}
Gateway:Port: nothing, because it must be 8080
Gateway:ShutdownTimeout: gateway.shutdownTimeout
Logging:Console:FormatterName: logFormat
Metrics:Address: nothing, because it must be 0.0.0.0
Metrics:Port: nothing, because it must be 9090
ModelCache:Folder: pools[].cacheSize
ModelCache:Megabytes: pools[].cacheSize
Preemption:Provider: spot.provider
Scaler:Address: nothing, because it must be 0.0.0.0
Scaler:Port: nothing, because it must be 8083
Silo:Address: nothing, because it must be the pod's address
Silo:HttpConnectionsMax: gateway.autoscaling.max
Silo:HttpPort: nothing, because it must be 8081
Silo:Name: nothing, because it must be the pod's name
Silo:Pool: pools[].name
Silo:Port: nothing, because it must be 11111
Silo:ProxyPort: nothing, because it must be 30000
Silo:Roles: pools[].roles
Silo:ShutdownTimeout: silo.shutdownTimeout
Store:Redis: redis
Trainer:LeaveTimeout: silo.leaveTimeout
TrainerPeers:Port: nothing, because it must be 12000
TrainingData:CacheFolder: pools[].cacheSize
TrainingData:CacheMegabytes: pools[].cacheSize
Worker:DrainTimeout: silo.drainTimeout
{{- end }}

{{- define "atelier.faultsOfConfig" -}}
{{- $faults := list -}}
{{- $own := include "atelier.ownKeys" . | fromYaml -}}
{{- $maps := dict "config" .Values.config "gateway.config" .Values.gateway.config "silo.config" .Values.silo.config -}}
{{- range $index, $given := .Values.pools -}}
{{- $_ := set $maps (printf "pools[%d].config" $index) (get $given "config" | default dict) -}}
{{- end -}}
{{- range $place, $map := $maps -}}
{{- range $key, $value := $map -}}
{{- if not (regexMatch "^[A-Za-z0-9_.-]+(:[A-Za-z0-9_.-]+)+$" $key) -}}
{{- $faults = append $faults (printf
  "%s has %s; it must be a key of docs/configuration.md with colons, such as Queue:LeaseTime." $place $key) -}}
{{- else if hasPrefix "Models:Folders" $key -}}
{{- $faults = append $faults (printf "%s has %s; leave it out and set pools[].models." $place $key) -}}
{{- else if hasKey $own $key -}}
{{- $faults = append $faults (printf "%s has %s; leave it out and set %s." $place $key (get $own $key)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toYaml $faults -}}
{{- end }}
