-- Renews the leases of a shard's rooms.
-- KEYS  1 the slot
-- ARGV  2 {shard_id, lease_ms, rooms (list of ids), epochs (list), players (list: the number of seated players of
--       each)}
-- Result  {lost = rooms that another shard owns, gone = rooms of which Redis has lost a key: see publish_room.lua}

local lost, gone = {}, {}

-- Returns whether Redis has all entries of a room that only publish_room.lua restores: its name, its code, its labels
-- and its players' seats. A seat that was just taken may still be in flight; publishing the room is harmless then.
local function is_complete(room, players)
  if room.name ~= '' and redis.call('HGET', key('name', room.type, room.name), 'id') ~= room.id then
    return false
  end
  if room.code ~= '' and redis.call('GET', key('code', room.code)) ~= room.id then
    return false
  end
  return redis.call('HEXISTS', key('owned', request.shard_id), room.id) == 1
    and redis.call('ZCOUNT', key('seats', room.id), SEATED, '+inf') >= players
end

for at, id in ipairs(request.rooms) do
  local room = get_room(id)
  if not room then
    gone[#gone + 1] = id
  elseif not is_owner(room, request.shard_id, request.epochs[at]) then
    lost[#lost + 1] = id
  else
    redis.call('PEXPIRE', key('room', id), request.lease_ms)
    redis.call('PEXPIRE', key('seats', id), request.lease_ms * 2)
    redis.call('ZREMRANGEBYSCORE', key('seats', id), '-inf', now)
    if room.name ~= '' then
      redis.call('PEXPIRE', key('name', room.type, room.name), NAME_MS)
    end
    if room.code ~= '' then
      redis.call('PEXPIRE', key('code', room.code), request.lease_ms * 2)
    end
    index(room, true)
    if not is_complete(room, request.players[at]) then
      gone[#gone + 1] = id
    end
  end
end
redis.call('PEXPIRE', key('owned', request.shard_id), OWNED_MS)
return reply({lost = lost, gone = gone})
