-- Transfers a room from one shard to another. The room has one owner at each moment.
--
--   offered --respond--> accepted --send--> sent --claim--> the target owns the room
--      └-----respond--> refused
--   cancel, in any state before claim: the source keeps the room
--
-- KEYS  1 the slot
-- ARGV  2 {action, room_id, shard_id, ...} and, for offer and send, 3 a msgpack value
--       action = "offer": {epoch, to, ttl_ms}, 3 the offer; shard_id is the source, as in send and cancel
--       action = "poll_offers": {}; returns the offers to shard_id and deletes them
--       action = "respond": {accepts}; shard_id is the target, as in fetch and claim
--       action = "get_state": {}
--       action = "send": {ttl_ms}, 3 the room; "unready" if the target has failed or drains since it has accepted
--       action = "fetch": {}; returns the room if it was sent
--       action = "claim": {lease_ms}; the target owns the room from now on
--       action = "cancel": {}
-- Result  {status = "ok" | "stale" | "unready", state ("" without a handover), room, offers, epoch}
--
--   PREFIX:handover:ROOM   hash, TTL: from, to, epoch, state, room
--   PREFIX:offers:SHARD    hash, TTL: room -> the offer

local handover = request.room_id and key('handover', request.room_id)

if request.action == 'poll_offers' then
  local offers = key('offers', request.shard_id)
  local found = redis.call('HVALS', offers)
  redis.call('DEL', offers)
  -- The offers are packed already: an array header precedes them.
  local count = #found
  local header = string.char(0xdc, math.floor(count / 256), count % 256)
  return string.char(0x82) .. cmsgpack.pack('status', 'ok', 'offers') .. header .. table.concat(found)
end

if request.action == 'offer' then
  local room, to = get_room(request.room_id), get_shard(request.to)
  if not is_owner(room, request.shard_id, request.epoch) then
    return reply({status = 'stale'})
  end
  if not to or not to.is_ready then
    return reply({status = 'unready'})
  end
  redis.call('DEL', handover)
  redis.call('HSET', handover, 'from', request.shard_id, 'to', request.to, 'epoch', request.epoch, 'state', 'offered')
  redis.call('PEXPIRE', handover, request.ttl_ms)
  local offers = key('offers', request.to)
  redis.call('HSET', offers, request.room_id, ARGV[3])
  redis.call('PEXPIRE', offers, request.ttl_ms)
  return reply({status = 'ok', state = 'offered'})
end

local found = redis.call('HMGET', handover, 'from', 'to', 'epoch', 'state')
local from, to, epoch, state = found[1], found[2], tonumber(found[3] or 0), found[4] or ''

if request.action == 'get_state' then
  return reply({status = 'ok', state = state})
elseif request.action == 'respond' then
  if to ~= request.shard_id or state ~= 'offered' then
    return reply({status = 'stale', state = state})
  end
  state = request.accepts and 'accepted' or 'refused'
  redis.call('HSET', handover, 'state', state)
  return reply({status = 'ok', state = state})
elseif request.action == 'send' then
  if from ~= request.shard_id or state ~= 'accepted' then
    return reply({status = 'stale', state = state})
  end
  local target = get_shard(to)
  if not target or not target.is_ready then
    return reply({status = 'unready', state = state})
  end
  redis.call('HSET', handover, 'state', 'sent', 'room', ARGV[3])
  redis.call('PEXPIRE', handover, request.ttl_ms)
  return reply({status = 'ok', state = 'sent'})
elseif request.action == 'fetch' then
  if to ~= request.shard_id then
    return reply({status = 'stale', state = ''})
  end
  if state ~= 'sent' then
    return reply({status = 'ok', state = state})
  end
  return string.char(0x83) .. cmsgpack.pack('status', 'ok', 'state', state, 'room') .. redis.call('HGET', handover, 'room')
elseif request.action == 'claim' then
  local room, shard = get_room(request.room_id), get_shard(request.shard_id)
  if to ~= request.shard_id or state ~= 'sent' or not is_owner(room, from, epoch) then
    return reply({status = 'stale', state = state})
  end
  if not shard then
    return reply({status = 'unready', state = state})
  end
  redis.call('DEL', handover)
  set_owner(room, shard, request.lease_ms)
  return reply({status = 'ok', state = '', epoch = room.epoch})
end
-- cancel
if from ~= request.shard_id then
  return reply({status = 'stale', state = state})
end
redis.call('DEL', handover)
redis.call('HDEL', key('offers', to), request.room_id)
return reply({status = 'ok', state = ''})
