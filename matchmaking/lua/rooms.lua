-- What all scripts on rooms begin with. Not a script of its own: it is put before theirs.
-- ARGV  1 the prefix of all keys, which carries the hash tag   2 the request, a msgpack map
--
-- KEYS[1] names the slot; the other keys are made here from the prefix, and so are in that slot too:
--   PREFIX:epoch               the number that was given to the last lease; only grows. Numbers follow the clock, so that
--                              they grow on when this key is lost
--   PREFIX:healing             TTL: a fleet that Redis has forgotten is registering again; no new names
--   PREFIX:shards              sorted set: shard -> when it was last heard of, ms
--   PREFIX:shard:ID            hash, TTL: what the shard says of itself
--   PREFIX:hosts:REGION:TYPE   sorted set, TTL: ready shards, by id; those that are gone leave when they are met
--   PREFIX:owned:SHARD         hash, TTL: room -> what must be known to take it over, a msgpack map
--   PREFIX:room:ID             hash, there while its lease is alive: its TTL is the lease
--   PREFIX:seats:ID            sorted set, TTL: player -> end of the reservation, ms; once seated SEATED + since
--   PREFIX:name:TYPE:NAME      hash, TTL: id (while the room is not released), epoch
--   PREFIX:moved:ID            TTL: the epoch under which a room got its last owner; only of those that had several
--   PREFIX:drain:SHARD         TTL: somebody asks the shard to drain
--   PREFIX:handover:ROOM       hash, TTL, and PREFIX:offers:SHARD: a room on its way (handover.lua)
--   PREFIX:parcel:NAME         TTL: what one shard leaves for another (parcel.lua)
--   PREFIX:code:CODE           TTL: the room that a code opens
--   PREFIX:party:TYPE:CODE     TTL: the room that holds seats for a party
--   PREFIX:open:REGION:TYPE    sorted set, TTL: open room -> free seats. So too, for one shard's and for one label:
--   PREFIX:here:SHARD:TYPE     PREFIX:with:REGION:TYPE:KEY=VALUE
--   PREFIX:held:REGION:TYPE    sorted set, TTL: room that only reservations fill -> when the first of them ends, ms

local prefix, asked = ARGV[1], cmsgpack.unpack(ARGV[2])
local SEATED = 1e15
local ROOM_LOAD = 0.001             -- a room's share of the tick interval where none was measured
local NAME_MS = 24 * 3600 * 1000   -- a name's epoch is kept so long after its last room
local OWNED_MS = 3600 * 1000       -- the rooms of a shard that is gone may be recovered for so long
local INDEX_MS = 60 * 1000         -- indexes are renewed with the leases of the rooms in them

local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

local function key(kind, ...)
  return prefix .. ':' .. kind .. ':' .. table.concat({...}, ':')
end

local function answer(values)
  return cmsgpack.pack(values)
end

local shards = {}  -- what was read of shards; a script changes only figures of them that it does not read again

local function shard_of(id)
  if shards[id] ~= nil then
    return shards[id]
  end
  shards[id] = false
  local found = redis.call('HMGET', key('shard', id), 'state', 'url', 'region', 'load', 'players', 'rooms', 'rooms_max',
    'load_max', 'build', 'room_load')
  if not found[1] then
    return false
  end
  shards[id] = {
    id = id, is_ready = found[1] == 'ready', url = found[2], region = found[3], load = tonumber(found[4]),
    players = tonumber(found[5]), rooms = tonumber(found[6]), rooms_max = tonumber(found[7]),
    load_max = tonumber(found[8]), build = found[9], room_load = tonumber(found[10]),
  }
  return shards[id]
end

local function room_of(id)
  local found = redis.call('HMGET', key('room', id), 'type', 'name', 'shard', 'epoch', 'seats', 'access', 'code',
    'labels', 'region')
  if not found[1] then
    return nil
  end
  return {
    id = id, type = found[1], name = found[2], shard = found[3], epoch = tonumber(found[4]),
    seats = tonumber(found[5]), access = found[6], code = found[7], labels = found[8], region = found[9],
  }
end

local function is_ours(room, shard, epoch)
  return room and room.shard == shard and room.epoch == epoch
end

-- Greater than all before, as long as either the counter or the clock is right: microseconds since 1970, or one more
-- than the last. Lua's numbers hold them exactly until the year 2255.
local function next_epoch(least)
  local counter = prefix .. ':epoch'
  local last = math.max(tonumber(redis.call('GET', counter) or 0), least or 0)
  local epoch = math.max(last + 1, now_us)
  redis.call('SET', counter, string.format('%.0f', epoch))
  return epoch
end

-- Seats that are taken or held now.
local function taken(id)
  return redis.call('ZCOUNT', key('seats', id), '(' .. now, '+inf')
end

local function indexes(room)
  local keys = {key('open', room.region, room.type), key('here', room.shard, room.type)}
  for label in string.gmatch(room.labels, '[^,]+') do
    keys[#keys + 1] = key('with', room.region, room.type, label)
  end
  return keys
end

local function unindex(room)
  for _, index in ipairs(indexes(room)) do
    redis.call('ZREM', index, room.id)
  end
  redis.call('ZREM', key('held', room.region, room.type), room.id)
end

-- Brings the indexes in line with a room: in them while anybody may walk in and there is a seat.
local function index(room, does_renew)
  local shard = shard_of(room.shard)
  if room.access ~= 'open' or room.name ~= '' or not shard or not shard.is_ready then
    return unindex(room)
  end
  local free = room.seats - taken(room.id)
  local held = key('held', room.region, room.type)
  if free > 0 then
    for _, key in ipairs(indexes(room)) do
      local is_new = redis.call('ZADD', key, free, room.id) == 1
      if is_new or does_renew then
        redis.call('PEXPIRE', key, INDEX_MS)
        redis.call('ZREM', held, room.id)
      end
    end
    return
  end
  unindex(room)
  local first = redis.call('ZRANGEBYSCORE', key('seats', room.id), '(' .. now, '(' .. SEATED, 'WITHSCORES',
    'LIMIT', 0, 1)
  if first[2] then
    redis.call('ZADD', held, first[2], room.id)
    redis.call('PEXPIRE', held, INDEX_MS)
  end
end

-- A room's record and its lease.
local function lease(room, ms)
  local record = key('room', room.id)
  redis.call('HSET', record, 'type', room.type, 'name', room.name, 'shard', room.shard, 'epoch', room.epoch,
    'seats', room.seats, 'access', room.access, 'code', room.code, 'labels', room.labels, 'region', room.region,
    'build', room.build or '')
  redis.call('PEXPIRE', record, ms)
  redis.call('PEXPIRE', key('seats', room.id), ms * 2)
  if room.name ~= '' then
    local name = key('name', room.type, room.name)
    redis.call('HSET', name, 'id', room.id, 'epoch', room.epoch)
    redis.call('PEXPIRE', name, NAME_MS)
  end
  if room.code ~= '' then
    redis.call('SET', key('code', room.code), room.id, 'PX', ms * 2)
  end
  local owned = key('owned', room.shard)
  redis.call('HSET', owned, room.id, cmsgpack.pack({
    room_id = room.id, room_type = room.type, name = room.name, epoch = room.epoch, seats = room.seats,
    access = room.access, code = room.code, labels = room.labels,
  }))
  redis.call('PEXPIRE', owned, OWNED_MS)
end

-- A room gets an owner, or the one that it has a greater epoch.
local function give_to(room, shard, ms, least_epoch)
  unindex(room)
  redis.call('HDEL', key('owned', room.shard), room.id)
  room.shard, room.region, room.build = shard.id, shard.region, shard.build
  room.epoch = next_epoch(least_epoch)
  -- Whoever had it before finds itself late, also when this lease has run out by then.
  redis.call('SET', key('moved', room.id), room.epoch, 'PX', NAME_MS)
  lease(room, ms)
  index(room)
end

-- A room's record goes; what remains is the epoch of its name, so that an older owner finds itself late.
local function forget(room)
  unindex(room)
  redis.call('DEL', key('room', room.id), key('seats', room.id))
  redis.call('HDEL', key('owned', room.shard), room.id)
  if room.code ~= '' and redis.call('GET', key('code', room.code)) == room.id then
    redis.call('DEL', key('code', room.code))
  end
  local name = key('name', room.type, room.name)
  if room.name ~= '' and redis.call('HGET', name, 'id') == room.id then
    redis.call('HDEL', name, 'id')
  end
end
