variable "name" {
  description = "The name of the release."
  type        = string
  default     = "tickwire"
}

variable "namespace" {
  description = "The namespace of the release."
  type        = string
  default     = "tickwire"
}

variable "create_namespace" {
  description = "Creates the namespace, with the pod security level \"restricted\"."
  type        = bool
  default     = true
}

variable "chart" {
  description = "The chart: a path, or a URL of a registry. If empty, the chart in this repository."
  type        = string
  default     = ""
}

variable "host" {
  description = "The host name that players connect to."
  type        = string
}

variable "image" {
  description = "The image, as the value `image` of the chart: {repository, tag}."
  type        = map(string)
}

variable "redis_url" {
  description = "The URL of the Redis: rediss://user:password@host:port/0."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^rediss?(\\+sentinel|\\+cluster)?://", var.redis_url))
    error_message = "Must be a redis://, rediss://, redis+sentinel:// or redis+cluster:// URL."
  }
}

variable "mongo_url" {
  description = "The URL of the MongoDB, a replica set of 6.0 or newer: mongodb+srv://user:password@host/."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^mongodb(\\+srv)?://", var.mongo_url))
    error_message = "Must be a mongodb:// or mongodb+srv:// URL."
  }
}

variable "mongo_database" {
  description = "The name of the database in MongoDB."
  type        = string
  default     = "tickwire"
}

variable "ticket_ids" {
  description = "The ids of the keys that sign tickets; a key is created for each."
  type        = list(string)
  default     = ["current"]
}

variable "ticket_current" {
  description = "The id of the key that signs new tickets."
  type        = string
  default     = "current"
}

variable "values" {
  description = "More values of the chart, as YAML; later ones override earlier ones."
  type        = list(string)
  default     = []
}
