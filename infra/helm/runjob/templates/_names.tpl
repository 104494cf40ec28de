{{/* Names and labels. */}}

{{- define "runjob.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 43 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end -}}

{{/* Of what belongs to no namespace, where two releases may have the same name. */}}
{{- define "runjob.clusterwideName" -}}
{{- printf "%s.%s" (include "runjob.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "runjob.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (include "runjob.fullname" .) -}}
{{- end -}}

{{- define "runjob.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "runjob.labels" -}}
{{ include "runjob.selector" . }}
app.kubernetes.io/component: worker
app.kubernetes.io/part-of: runjob
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "runjob.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}
