-- Takes one token from each of some buckets of one identity, or from none if one of them is empty. Has no prelude.
-- ARGV  1 the prefix of all keys   2 {identity, buckets (list of {name, interval_us, capacity})}
-- Result  {is_allowed, buckets (list of {remaining, retry_us, full_us}, in the order of the request)}
--
--   PREFIX:bucket:NAME:IDENTITY   TTL: the time at which the bucket is full again, us; missing: it is full
--
-- A token bucket in the form of GCRA (ITU-T I.371): one number a bucket. Each token postpones the time at which the
-- bucket is full by `interval_us`, and a bucket of `capacity` tokens is empty when that time is capacity * interval_us
-- away.

local prefix, request = ARGV[1], cmsgpack.unpack(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]

local buckets, is_allowed = {}, true
for at, bucket in ipairs(request.buckets) do
  local key = prefix .. ':bucket:' .. bucket.name .. ':' .. request.identity
  local span = bucket.capacity * bucket.interval_us
  -- A limit that was lowered, or a clock that was set back, must not lock a player out for longer than the bucket takes.
  local full_at = math.min(math.max(tonumber(redis.call('GET', key) or 0), now), now + span)
  local excess = full_at + bucket.interval_us - now - span
  buckets[at] = {key = key, full_at = full_at, interval_us = bucket.interval_us, span = span, excess = excess}
  is_allowed = is_allowed and excess <= 0
end

local result = {}
for at, bucket in ipairs(buckets) do
  if is_allowed then
    bucket.full_at = bucket.full_at + bucket.interval_us
    local ttl_ms = math.ceil((bucket.full_at - now) / 1000)
    redis.call('SET', bucket.key, string.format('%.0f', bucket.full_at), 'PX', ttl_ms)
  end
  result[at] = {
    remaining = math.floor((bucket.span - (bucket.full_at - now)) / bucket.interval_us),
    retry_us = math.max(0, bucket.excess),
    full_us = bucket.full_at - now,
  }
end
return cmsgpack.pack({is_allowed = is_allowed, buckets = result})
