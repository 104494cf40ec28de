{{/* What the worker is told: flags, as environment variables. docs/contract.md lists them; what is not set has the worker's default. */}}
{{- define "runjob.environment" -}}
{{- $values := .Values -}}
{{- $variables := list -}}
{{- $accounts := (include "runjob.ownJobAccounts" . | fromJson).accounts -}}
{{- $flags := list
  (list "RUNJOB_ACTIVITY_ARN" (join "," $values.activityArns))
  (list "RUNJOB_GROUP" $values.group)
  (list "RUNJOB_ALLOW_SERVICE_ACCOUNT" (join "," $accounts))
  (list "RUNJOB_CLUSTER_NAME" $values.clusterName)
  (list "RUNJOB_CLUSTERS" (ternary "/etc/runjob/clusters.yaml" "" (not (empty $values.clusters))))
  (list "RUNJOB_MAX_IN_FLIGHT" $values.maxInFlight)
  (list "RUNJOB_POLLERS" $values.pollers)
  (list "RUNJOB_HEARTBEAT_INTERVAL" $values.heartbeatInterval)
  (list "RUNJOB_HEARTBEAT_RATE" $values.heartbeatRate)
  (list "RUNJOB_LEASE_DURATION" $values.leaseDuration)
  (list "RUNJOB_REATTACH_GRACE" $values.reattachGrace)
  (list "RUNJOB_MAX_LOG_PODS" $values.maxLogPods)
  (list "RUNJOB_STUCK_GRACE" $values.stuckGrace)
  (list "RUNJOB_JOB_FAILED_ERROR" $values.jobFailedError)
  (list "RUNJOB_LENIENT" (ternary "true" "" $values.lenient))
  (list "RUNJOB_LOG_FORMAT" $values.log.format)
  (list "RUNJOB_LOG" $values.log.level)
  (list "AWS_REGION" (include "runjob.region" .))
-}}
{{- range $flags -}}
  {{- /* Whole numbers come from YAML as floats. */ -}}
  {{- $value := index . 1 -}}
  {{- if kindIs "float64" $value -}}{{- $value = int64 $value -}}{{- end -}}
  {{- if $value -}}
    {{- $variables = append $variables (dict "name" (index . 0) "value" (toString $value)) -}}
  {{- end -}}
{{- end -}}
{{- if not (or $values.clusters $values.clusterWide) -}}
  {{- $variables = append $variables (dict "name" "RUNJOB_NAMESPACE" "value" (join "," $values.namespaces)) -}}
{{- end -}}
{{- toYaml $variables -}}
{{- end -}}

{{/* The file of clusters. Whole numbers come from YAML as floats, and large ones would be written as 1e+06. */}}
{{- define "runjob.clustersFile" -}}
{{- $clusters := deepCopy .Values.clusters -}}
{{- range $name, $cluster := $clusters -}}
  {{- if $cluster.maxInFlight -}}
    {{- $_ := set $cluster "maxInFlight" (int64 $cluster.maxInFlight) -}}
  {{- end -}}
  {{- if $cluster.inCluster -}}
    {{- $scope := dict "root" $ "accounts" $cluster.serviceAccounts "namespaces" $cluster.namespaces -}}
    {{- with (include "runjob.jobAccounts" $scope | fromJson).accounts -}}
      {{- $_ := set $cluster "serviceAccounts" . -}}
    {{- end -}}
  {{- end -}}
{{- end -}}
{{- toYaml $clusters -}}
{{- end -}}
