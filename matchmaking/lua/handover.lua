-- A room goes from its shard to another, and has one owner at every moment. After rooms.lua.
--
--   offered --answer--> accepted --send--> sent --take--> the other shard's     withdraw, before that: as if nothing
--      └--answer--> refused                                                     had been
--
-- KEYS  1 the slot
-- ARGV  2 {how, room_id, shard_id, ...} and, where it says so, 3 what is passed on as it is
--       how = "offer": {epoch, to, ttl_ms}, 3 what the other shard must know; shard_id is the owner, as in send, withdraw
--       how = "hear": {}, all offers to shard_id, once
--       how = "answer": {accepts}; shard_id is the one it was offered to, as in fetch, take
--       how = "look": {}, how it stands
--       how = "send": {ttl_ms}, 3 the room, packed as a msgpack value
--       how = "fetch": {}, the room, when it was sent
--       how = "take": {lease_ms}: the room is ours
--       how = "withdraw": {}
-- Result  {status = "ok" | "stale" | "unready", state, room, offers, epoch}; state is "" where there is no handover
--
--   PREFIX:handover:ROOM   hash, TTL: from, to, epoch, state, room
--   PREFIX:offers:SHARD    hash, TTL: room -> what was offered

local here = asked.room_id and key('handover', asked.room_id)

if asked.how == 'hear' then
  local offers = key('offers', asked.shard_id)
  local found = redis.call('HVALS', offers)
  redis.call('DEL', offers)
  -- They are packed already: an array's header, and then themselves.
  local count = #found
  local header = string.char(0xdc, math.floor(count / 256), count % 256)
  return string.char(0x82) .. cmsgpack.pack('status', 'ok', 'offers') .. header .. table.concat(found)
end

if asked.how == 'offer' then
  local room, to = room_of(asked.room_id), shard_of(asked.to)
  if not is_ours(room, asked.shard_id, asked.epoch) then
    return answer({status = 'stale'})
  end
  if not to or not to.is_ready then
    return answer({status = 'unready'})
  end
  redis.call('DEL', here)
  redis.call('HSET', here, 'from', asked.shard_id, 'to', asked.to, 'epoch', asked.epoch, 'state', 'offered')
  redis.call('PEXPIRE', here, asked.ttl_ms)
  local offers = key('offers', asked.to)
  redis.call('HSET', offers, asked.room_id, ARGV[3])
  redis.call('PEXPIRE', offers, asked.ttl_ms)
  return answer({status = 'ok', state = 'offered'})
end

local found = redis.call('HMGET', here, 'from', 'to', 'epoch', 'state')
local from, to, epoch, state = found[1], found[2], tonumber(found[3] or 0), found[4] or ''

if asked.how == 'look' then
  return answer({status = 'ok', state = state})
elseif asked.how == 'answer' then
  if to ~= asked.shard_id or state ~= 'offered' then
    return answer({status = 'stale', state = state})
  end
  state = asked.accepts and 'accepted' or 'refused'
  redis.call('HSET', here, 'state', state)
  return answer({status = 'ok', state = state})
elseif asked.how == 'send' then
  if from ~= asked.shard_id or state ~= 'accepted' then
    return answer({status = 'stale', state = state})
  end
  redis.call('HSET', here, 'state', 'sent', 'room', ARGV[3])
  redis.call('PEXPIRE', here, asked.ttl_ms)
  return answer({status = 'ok', state = 'sent'})
elseif asked.how == 'fetch' then
  if to ~= asked.shard_id then
    return answer({status = 'stale', state = ''})
  end
  if state ~= 'sent' then
    return answer({status = 'ok', state = state})
  end
  return string.char(0x83) .. cmsgpack.pack('status', 'ok', 'state', state, 'room') .. redis.call('HGET', here, 'room')
elseif asked.how == 'take' then
  local room, shard = room_of(asked.room_id), shard_of(asked.shard_id)
  if to ~= asked.shard_id or state ~= 'sent' or not is_ours(room, from, epoch) then
    return answer({status = 'stale', state = state})
  end
  if not shard then
    return answer({status = 'unready', state = state})
  end
  redis.call('DEL', here)
  give_to(room, shard, asked.lease_ms)
  return answer({status = 'ok', state = '', epoch = room.epoch})
end
-- withdraw
if from ~= asked.shard_id then
  return answer({status = 'stale', state = state})
end
redis.call('DEL', here)
redis.call('HDEL', key('offers', to), asked.room_id)
return answer({status = 'ok', state = ''})
