{{- define "dispatch.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 63 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 63 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "dispatch.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "dispatch.labels" -}}
{{ include "dispatch.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end }}

{{- define "dispatch.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}{{ include "dispatch.name" . }}{{ else }}{{ required "serviceAccount.name is needed with create: false" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "dispatch.image" -}}
{{- if .Values.image.digest }}{{ printf "%s@%s" .Values.image.repository .Values.image.digest }}{{ else }}{{ printf "%s:%s" .Values.image.repository (required "image.tag or image.digest is needed" .Values.image.tag) }}{{ end }}
{{- end }}
