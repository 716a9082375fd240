output "url" {
  description = "Where players connect."
  value       = "wss://${var.host}/"
}

output "admin_token" {
  description = "What the admin API wants to be shown."
  value       = random_password.admin.result
  sensitive   = true
}

output "revision" {
  description = "Of the release."
  value       = helm_release.this.metadata[0].revision
}
