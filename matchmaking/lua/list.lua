-- What the directory holds. Changes nothing but what is out of date. After rooms.lua.
-- KEYS  1 the slot
-- ARGV  2 {what = "shards"}
--       or {what = "orphans"}: rooms whose shard is gone
--       or {what = "home", room_id}: who has a room
--       or {what = "rooms", region, room_type, labels (list of KEY=VALUE), limit}: open rooms, the fullest first
-- Result  {shards = list of maps, orphans = list of {shard_id, record}, rooms = list of maps,
--       homes = list of none or one of {shard_id, url ('' when the shard is gone, or silent), left_ms (of its lease),
--       room_type, name, epoch}}

local SILENT_MS = 3000
local found = {shards = {}, orphans = {}, rooms = {}, homes = {}}

local function fields_of(record)
  local fields, flat = {}, redis.call('HGETALL', record)
  for at = 1, #flat, 2 do
    fields[flat[at]] = flat[at + 1]
  end
  return fields
end

local function is_free(room_id)
  local room = room_of(room_id)
  return not (room and shard_of(room.shard))
end

local function orphans(shard)
  local owned = key('owned', shard)
  local flat = redis.call('HGETALL', owned)
  for at = 1, #flat, 2 do
    if is_free(flat[at]) then
      found.orphans[#found.orphans + 1] = {shard_id = shard, record = cmsgpack.unpack(flat[at + 1])}
    else
      redis.call('HDEL', owned, flat[at])
    end
  end
  if redis.call('EXISTS', owned) == 0 then
    redis.call('ZREM', prefix .. ':shards', shard)
  end
end

if asked.what == 'home' then
  local room = room_of(asked.room_id)
  if room then
    -- A shard beats once a second: one that has missed some is dead, most likely, and who is sent there comes back.
    local heard = tonumber(redis.call('ZSCORE', prefix .. ':shards', room.shard) or 0)
    local shard = now - heard < SILENT_MS and shard_of(room.shard)
    local left_ms = redis.call('PTTL', key('room', asked.room_id))
    found.homes[1] = {
      shard_id = room.shard, url = shard and shard.url or '', left_ms = left_ms, room_type = room.type, name = room.name,
      epoch = room.epoch,
    }
  end
  return answer(found)
end

if asked.what == 'rooms' then
  local source = key('open', asked.region, asked.room_type)
  for _, label in ipairs(asked.labels) do
    local labelled = key('with', asked.region, asked.room_type, label)
    if redis.call('ZCARD', labelled) < redis.call('ZCARD', source) then
      source = labelled
    end
  end
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', source, 1, '+inf', 'LIMIT', 0, asked.limit * 4)) do
    local fields, fits = fields_of(key('room', id)), true
    if not fields.type then
      redis.call('ZREM', source, id)
      fits = false
    end
    for _, label in ipairs(asked.labels) do
      fits = fits and string.find(',' .. fields.labels .. ',', ',' .. label .. ',', 1, true)
    end
    if fits and #found.rooms < asked.limit then
      fields.room_id, fields.taken = id, taken(id)
      found.rooms[#found.rooms + 1] = fields
    end
  end
  return answer(found)
end

for _, id in ipairs(redis.call('ZRANGE', prefix .. ':shards', 0, -1)) do
  local fields = fields_of(key('shard', id))
  if asked.what == 'shards' and fields.state then
    found.shards[#found.shards + 1] = fields
  elseif asked.what == 'orphans' and not fields.state then
    orphans(id)
  end
end
return answer(found)
