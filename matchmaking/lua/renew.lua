-- Renews the leases of a shard's rooms. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, lease_ms, rooms (list of ids), epochs (list)}
-- Result  {lost = ids that another owner has, gone = ids that Redis knows nothing of: tell it (tell.lua)}

local lost, gone = {}, {}
for at, id in ipairs(asked.rooms) do
  local room = room_of(id)
  if not room then
    gone[#gone + 1] = id
  elseif not is_ours(room, asked.shard_id, asked.epochs[at]) then
    lost[#lost + 1] = id
  else
    redis.call('PEXPIRE', key('room', id), asked.lease_ms)
    redis.call('PEXPIRE', key('seats', id), asked.lease_ms * 2)
    redis.call('ZREMRANGEBYSCORE', key('seats', id), '-inf', now)
    if room.name ~= '' then
      redis.call('PEXPIRE', key('name', room.type, room.name), NAME_MS)
    end
    if room.code ~= '' then
      redis.call('PEXPIRE', key('code', room.code), asked.lease_ms * 2)
    end
    index(room, true)
  end
end
redis.call('PEXPIRE', key('owned', asked.shard_id), OWNED_MS)
return answer({lost = lost, gone = gone})
