output "url" {
  description = "The URL that players connect to."
  value       = "wss://${var.host}/"
}

output "admin_token" {
  description = "The bearer token of the admin API."
  value       = random_password.admin.result
  sensitive   = true
}

output "revision" {
  description = "The revision of the release."
  value       = helm_release.this.metadata[0].revision
}
