-- Renews the leases of a shard's rooms. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, lease_ms, rooms (list of ids), epochs (list), players (list: how many are seated in each)}
-- Result  {lost = ids that another owner has, gone = ids of which Redis has lost something: tell it (tell.lua)}

local lost, gone = {}, {}

-- Whether all entries of a room are there that nothing else restores: its name, its code, what is needed to take it
-- over, and its players' seats. A seat that was just taken may be on its way: to tell it is harmless.
local function is_complete(room, players)
  if room.name ~= '' and redis.call('HGET', key('name', room.type, room.name), 'id') ~= room.id then
    return false
  end
  if room.code ~= '' and redis.call('GET', key('code', room.code)) ~= room.id then
    return false
  end
  return redis.call('HEXISTS', key('owned', asked.shard_id), room.id) == 1
    and redis.call('ZCOUNT', key('seats', room.id), SEATED, '+inf') >= players
end

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
    if not is_complete(room, asked.players[at]) then
      gone[#gone + 1] = id
    end
  end
end
redis.call('PEXPIRE', key('owned', asked.shard_id), OWNED_MS)
return answer({lost = lost, gone = gone})
