-- A room gets another owner, or the same one a greater epoch. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {how, room_id, lease_ms, least_epoch} and
--       how = "hand_over": {shard_id, epoch, to}: from its owner to another shard that is ready
--       how = "take_over": {shard_id (the new owner), from, room_type, name, seats, access, code, labels (list)}:
--         its owner is gone, its lease has run out
--       how = "raise": {shard_id, epoch}: the owner's epoch becomes greater than least_epoch
-- Result  {status = "ok", epoch}, or "stale": another owner has it; "unready": the new owner is not ready

local room = room_of(asked.room_id)
local owner = asked.how == 'hand_over' and asked.to or asked.shard_id
local shard = shard_of(owner)
if not shard or (asked.how ~= 'raise' and not shard.is_ready) then
  return answer({status = 'unready'})
end
if asked.how == 'take_over' then
  if room and shard_of(room.shard) then
    return answer({status = 'stale'})
  end
  if asked.name ~= '' then
    local id = redis.call('HGET', key('name', asked.room_type, asked.name), 'id')
    if id and id ~= asked.room_id and room_of(id) then
      redis.call('HDEL', key('owned', asked.from), asked.room_id)
      return answer({status = 'stale'})
    end
  end
  redis.call('HDEL', key('owned', asked.from), asked.room_id)
  if room then
    unindex(room)
  end
  redis.call('DEL', key('seats', asked.room_id))
  room = {
    shard = asked.from, region = shard.region, id = asked.room_id, type = asked.room_type, name = asked.name, seats = asked.seats, access = asked.access,
    code = asked.code, labels = table.concat(asked.labels, ','),
  }
else
  if not is_ours(room, asked.shard_id, asked.epoch) then
    return answer({status = 'stale'})
  end
end
give_to(room, shard, asked.lease_ms, asked.least_epoch)
return answer({status = 'ok', epoch = room.epoch})
