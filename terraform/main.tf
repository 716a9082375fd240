# Installs Tickwire on an existing cluster, with the URLs of an existing Redis and MongoDB.
# Values of the chart are passed in `values`; secrets are stored in one Secret only.

terraform {
  required_version = ">= 1.5"
  required_providers {
    helm       = { source = "hashicorp/helm", version = ">= 2.12" }
    kubernetes = { source = "hashicorp/kubernetes", version = ">= 2.27" }
    random     = { source = "hashicorp/random", version = ">= 3.6" }
  }
}

resource "kubernetes_namespace_v1" "this" {
  count = var.create_namespace ? 1 : 0

  metadata {
    name   = var.namespace
    labels = { "pod-security.kubernetes.io/enforce" = "restricted" }
  }
}

# Signs Redirects and resume tokens. To rotate: add an id to `ticket_ids`, apply, make it `ticket_current`, apply.
resource "random_password" "tickets" {
  for_each = toset(var.ticket_ids)
  length   = 64
  special  = false
}

resource "random_password" "admin" {
  length  = 48
  special = false
}

# Encrypts the keys that sign access tokens, and derives refresh tokens.
resource "random_password" "accounts" {
  length  = 64
  special = false
}

resource "kubernetes_secret_v1" "this" {
  metadata {
    name      = "${var.name}-secrets"
    namespace = var.namespace
  }

  data = merge(
    {
      redis    = var.redis_url
      mongo    = var.mongo_url
      admin    = random_password.admin.result
      accounts = random_password.accounts.result
    },
    { for id, password in random_password.tickets : id => password.result },
  )

  depends_on = [kubernetes_namespace_v1.this]
}

resource "helm_release" "this" {
  name      = var.name
  namespace = var.namespace
  chart     = coalesce(var.chart, "${path.module}/../helm/tickwire")
  timeout   = 600

  values = concat([
    yamlencode({
      host  = var.host
      image = var.image
      redis = { existingSecret = kubernetes_secret_v1.this.metadata[0].name, key = "redis" }
      mongo = { existingSecret = kubernetes_secret_v1.this.metadata[0].name, key = "mongo", database = var.mongo_database }
      tickets = {
        existingSecret = kubernetes_secret_v1.this.metadata[0].name
        ids            = var.ticket_ids
        current        = var.ticket_current
      }
      admin    = { existingSecret = kubernetes_secret_v1.this.metadata[0].name, key = "admin" }
      accounts = { existingSecret = kubernetes_secret_v1.this.metadata[0].name, key = "accounts" }
    }),
  ], var.values)
}
