variable "name" {
  description = "Of the release."
  type        = string
  default     = "tickwire"
}

variable "namespace" {
  description = "Where it is installed."
  type        = string
  default     = "tickwire"
}

variable "create_namespace" {
  description = "Makes the namespace, with pod security \"restricted\"."
  type        = bool
  default     = true
}

variable "chart" {
  description = "The chart: a path, or an address of a registry. Empty: the one beside this module."
  type        = string
  default     = ""
}

variable "host" {
  description = "The host name that players connect to."
  type        = string
}

variable "image" {
  description = "The image: {repository, tag} as the chart has it."
  type        = map(string)
}

variable "redis_url" {
  description = "rediss://user:password@host:port/0 of a managed Redis."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^rediss?(\\+sentinel|\\+cluster)?://", var.redis_url))
    error_message = "Wants a redis:// or rediss:// URL."
  }
}

variable "mongo_url" {
  description = "mongodb+srv://user:password@host/ of a managed MongoDB, a replica set of 6.0 or newer."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^mongodb(\\+srv)?://", var.mongo_url))
    error_message = "Wants a mongodb:// or mongodb+srv:// URL."
  }
}

variable "mongo_database" {
  description = "The database of that MongoDB."
  type        = string
  default     = "tickwire"
}

variable "ticket_ids" {
  description = "Ids of the keys that sign tickets; each gets a key of its own."
  type        = list(string)
  default     = ["current"]
}

variable "ticket_current" {
  description = "The id that signs."
  type        = string
  default     = "current"
}

variable "values" {
  description = "More of the chart's values, as YAML texts; later ones win."
  type        = list(string)
  default     = []
}
