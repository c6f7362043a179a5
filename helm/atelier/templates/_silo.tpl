{{/* Labels that select a pool's silos. Takes root and name. */}}
{{- define "atelier.poolSelector" -}}
{{ include "atelier.selector" (dict "root" .root "component" "silo") }}
atelier/pool: {{ .name }}
{{- end }}

{{/* The template of a silo's pod. Takes root and pool, of which the control silos are one. */}}
{{- define "atelier.siloPod" -}}
{{- $root := .root -}}
{{- $pool := .pool -}}
{{- $values := .root.Values -}}
{{- $isControl := has "control" $pool.roles -}}
{{- $draws := has "inference" $pool.roles -}}
{{- $trains := has "training" $pool.roles -}}
{{- $name := include "atelier.fullname" $root -}}
{{- $resources := deepCopy $pool.resources -}}
{{- with $pool.accelerator -}}
{{- $limits := get $resources "limits" | default dict -}}
{{- $_ := set $limits .resource (get . "count" | default 1 | int) -}}
{{- $_ := set $resources "limits" $limits -}}
{{- end -}}
metadata:
  labels:
    {{- include "atelier.labels" (dict "root" $root "component" "silo") | nindent 4 }}
    atelier/pool: {{ $pool.name }}
    {{- if $values.blobs.azure.endpoint }}
    azure.workload.identity/use: "true"
    {{- end }}
spec:
  serviceAccountName: {{ $name }}-silo
  automountServiceAccountToken: false
  enableServiceLinks: false
  {{- with include "atelier.priorityClass" (dict "root" $root "class"
    (ternary "training" "serving" (or $pool.spot (not (or $isControl $draws))))) }}
  priorityClassName: {{ . }}
  {{- end }}
  {{- with $values.imagePullSecrets }}
  imagePullSecrets: {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext: {{- include "atelier.podSecurity" 10001 | nindent 4 }}
  terminationGracePeriodSeconds: {{ add (include "atelier.seconds" $pool.shutdownTimeout) 5 }}
  topologySpreadConstraints:
    {{- include "atelier.spread" (include "atelier.poolSelector" (dict "root" $root "name" $pool.name))
      | trim | nindent 4 }}
  {{- with include "atelier.placement" $pool | trim }}
  {{- . | nindent 2 }}
  {{- end }}
  {{- $fetched := list }}
  {{- range $pool.models }}
  {{- if eq (get (get $values.models . | default dict) "source") "blob" }}{{ $fetched = append $fetched . }}{{ end }}
  {{- end }}
  {{- with $fetched }}
  initContainers:
    {{- range . }}
    # Checks the digest, and ends with an error if it differs.
    - name: fetch-{{ . }}
      image: {{ include "atelier.image" (dict "root" $root "image" $values.silo.image) }}
      imagePullPolicy: {{ $values.silo.image.pullPolicy }}
      args:
        - fetch-model
        - --name
        - {{ . }}
        - --digest
        - {{ get (get $values.models .) "digest" | quote }}
        - --to
        - /models/{{ . }}
      securityContext: {{- include "atelier.containerSecurity" . | nindent 8 }}
      env: {{- include "atelier.blobVariables" $root | trim | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: model-{{ . }}, mountPath: /models/{{ . }}}
        {{- if include "atelier.blobClaim" $root }}
        - {name: blobs, mountPath: /blobs}
        {{- end }}
    {{- end }}
  {{- end }}
  containers:
    - name: silo
      image: {{ include "atelier.image" (dict "root" $root "image" $values.silo.image) }}
      imagePullPolicy: {{ $values.silo.image.pullPolicy }}
      securityContext: {{- include "atelier.containerSecurity" . | nindent 8 }}
      env:
        - name: Silo__Name
          valueFrom:
            fieldRef: {fieldPath: metadata.name}
        - name: Silo__Address
          valueFrom:
            fieldRef: {fieldPath: status.podIP}
        - {name: Silo__Roles, value: {{ join "," $pool.roles | quote }}}
        {{- if not $isControl }}
        - {name: Silo__Pool, value: {{ $pool.name | quote }}}
        {{- end }}
        - {name: Silo__Port, value: "11111"}
        - {name: Silo__ProxyPort, value: "30000"}
        - {name: Silo__HttpPort, value: "8081"}
        # Room for all connections of all gateways.
        {{- $connections := get $values.gateway.config "Gateway:ConnectionsMax" | default 10000 | int }}
        - name: Silo__HttpConnectionsMax
          value: "{{ mul (include "atelier.gatewaysMax" $root | int) $connections | min 1000000 | max 20000 }}"
        - {name: Silo__ShutdownTimeout, value: {{ $pool.shutdownTimeout | quote }}}
        - {name: Worker__DrainTimeout, value: {{ $values.silo.drainTimeout | quote }}}
        - {name: Trainer__LeaveTimeout, value: {{ $values.silo.leaveTimeout | quote }}}
        {{- include "atelier.clusterVariables" $root | nindent 8 }}
        {{- include "atelier.blobVariables" $root | trim | nindent 8 }}
        {{- if $isControl }}
        - {name: Scaler__Address, value: 0.0.0.0}
        - {name: Scaler__Port, value: "8083"}
        {{- else }}
        {{- range $index, $model := $pool.models }}
        - {name: Models__Folders__{{ $index }}, value: /models/{{ $model }}}
        {{- end }}
        {{- range $key, $value := $pool.device }}
        - {name: Device__{{ $key | title }}, value: {{ include "atelier.text" $value | quote }}}
        {{- end }}
        # Nine tenths of the volume, because the limits of the caches leave out what is being written.
        {{- $gibi := hasSuffix "Gi" $pool.cacheSize }}
        {{- $size := mul (regexFind "^[0-9]+" $pool.cacheSize | atoi) (ternary 1024 1 $gibi) }}
        {{- $share := div (mul $size 9) (mul 10 (ternary 2 1 (and $draws $trains))) | max 1 }}
        {{- if $draws }}
        - {name: ModelCache__Folder, value: /data/models}
        - {name: ModelCache__Megabytes, value: {{ $share | quote }}}
        {{- end }}
        {{- if $trains }}
        - {name: TrainingData__CacheFolder, value: /data/training}
        - {name: TrainingData__CacheMegabytes, value: {{ $share | quote }}}
        - {name: TrainerPeers__Port, value: "12000"}
        {{- end }}
        {{- if $pool.spot }}
        - {name: Preemption__Provider, value: {{ $values.spot.provider | quote }}}
        {{- end }}
        {{- end }}
        {{- with include "atelier.config" (list $values.config $values.silo.config $pool.config) | trim }}
        {{- . | nindent 8 }}
        {{- end }}
      ports:
        - {name: silo, containerPort: 11111}
        - {name: proxy, containerPort: 30000}
        - {name: http, containerPort: 8081}
        - {name: metrics, containerPort: 9090}
        {{- if $isControl }}
        - {name: scaler, containerPort: 8083}
        {{- end }}
        {{- if $trains }}
        - {name: trainers, containerPort: 12000}
        {{- end }}
      {{- include "atelier.probes" (include "atelier.seconds" $values.silo.startTimeout | int) | nindent 6 }}
      resources: {{- toYaml $resources | nindent 8 }}
      volumeMounts:
        - {name: tmp, mountPath: /tmp}
        - {name: data, mountPath: /data}
        {{- if include "atelier.blobClaim" $root }}
        - {name: blobs, mountPath: /blobs}
        {{- end }}
        {{- range $model := $pool.models }}
        {{- $source := get $values.models $model | default dict }}
        - name: model-{{ $model }}
          mountPath: /models/{{ $model }}
          {{- if ne (get $source "source") "blob" }}
          readOnly: true
          {{- end }}
          {{- with get $source "subPath" }}
          subPath: {{ . }}
          {{- end }}
        {{- end }}
  volumes:
    - name: tmp
      emptyDir: {}
    - name: data
      emptyDir:
        {{- if $isControl }} {}
        {{- else }}
        sizeLimit: {{ $pool.cacheSize }}
        {{- end }}
    {{- with include "atelier.blobClaim" $root }}
    - name: blobs
      persistentVolumeClaim: {claimName: {{ . }}}
    {{- end }}
    {{- range $model := $pool.models }}
    {{- $source := get $values.models $model | default dict }}
    - name: model-{{ $model }}
      {{- if eq (get $source "source") "volume" }}
      persistentVolumeClaim: {claimName: {{ get $source "claim" }}, readOnly: true}
      {{- else if eq (get $source "source") "image" }}
      image:
        reference: {{ get $source "image" | quote }}
        pullPolicy: {{ get $source "pullPolicy" | default "IfNotPresent" }}
      {{- else }}
      emptyDir: {}
      {{- end }}
    {{- end }}
{{- end }}
