-- Queries the directory. Changes nothing, except that it removes outdated entries.
-- KEYS  1 the slot
-- ARGV  2 {kind = "shards"}
--       or {kind = "location", room_id, shard_id (the requesting shard, or '')}: the owner of a room
--       or {kind = "rooms", region, room_type, labels (list of KEY=VALUE), limit}: open rooms, the fullest first
-- Result  {shards = list of maps, rooms = list of maps,
--       locations = list of none or one of {shard_id, url ('' if the shard has failed, is silent, or was
--       replaced by the requesting one), lease_left_ms, room_type, name, epoch}}

local found = {shards = {}, rooms = {}, locations = {}}

local function get_fields(record)
  local fields, flat = {}, redis.call('HGETALL', record)
  for at = 1, #flat, 2 do
    fields[flat[at]] = flat[at + 1]
  end
  return fields
end

if request.kind == 'location' then
  local room = get_room(request.room_id)
  if room then
    local shard, here = get_shard(room.shard), get_shard(request.shard_id)
    local is_reachable = shard and not shard.is_silent and not is_replaced(shard, here)
    found.locations[1] = {
      shard_id = room.shard, url = is_reachable and shard.url or '', room_type = room.type, name = room.name,
      epoch = room.epoch, lease_left_ms = redis.call('PTTL', key('room', request.room_id)),
    }
  end
  return reply(found)
end

if request.kind == 'rooms' then
  local source = key('open', request.region, request.room_type)
  for _, label in ipairs(request.labels) do
    local labelled = key('with', request.region, request.room_type, label)
    if redis.call('ZCARD', labelled) < redis.call('ZCARD', source) then
      source = labelled
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', source, 1, '+inf', 'LIMIT', 0, request.limit * 4)) do
    local fields, fits = get_fields(key('room', id)), true
    if not fields.type then
      redis.call('ZREM', source, id)
      fits = false
    end
    for _, label in ipairs(request.labels) do
      fits = fits and string.find(',' .. fields.labels .. ',', ',' .. label .. ',', 1, true)
    end
    if fits and #found.rooms < request.limit then
      fields.room_id, fields.taken = id, count_taken(id)
      found.rooms[#found.rooms + 1] = fields
    end
  end
  return reply(found)
end

for _, id in ipairs(redis.call('ZRANGE', prefix .. ':shards', 0, -1)) do
  local fields = get_fields(key('shard', id))
  if fields.state then
    fields.is_silent = get_shard(id).is_silent
    found.shards[#found.shards + 1] = fields
  else
    redis.call('ZREM', prefix .. ':shards', id)
  end
end
return reply(found)
