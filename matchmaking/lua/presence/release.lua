-- Deletes the records of sessions of a shard that have ended. Other records of the same players remain.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, players (list of ids), sessions (list: the id of the session of each player), kept_ms,
--         leaves}
--       kept_ms: how long the records are kept for the shards to which the sessions have moved; 0: delete them
--       leaves: whether the shard stops, so that its other records do not count any more
-- Result  {released (the number of these records)}

local released = 0
for at, player in ipairs(request.players) do
  local name = key('player', player)
  local packed = redis.call('GET', name)
  local found = packed and cmsgpack.unpack(packed)
  if found and found[SHARD] == request.shard_id and found[SESSION] == request.sessions[at] then
    if request.kept_ms > 0 then
      redis.call('PEXPIRE', name, request.kept_ms)
    else
      redis.call('DEL', name)
    end
    released = released + 1
  end
end
if request.leaves then
  redis.call('DEL', key('shard', request.shard_id), key('inbox', request.shard_id))
end
return reply({released = released})
