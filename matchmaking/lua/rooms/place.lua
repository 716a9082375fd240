-- Joins or creates a room: finds a room for a player or a party and takes or reserves seats in it, or creates one.
-- KEYS  1 the slot
-- ARGV  2 {room_type, players (list: all get a seat, or none does), shard_id (the requesting shard), region, seats,
--       labels (list of KEY=VALUE: required labels, or those of a new room), new_id, new_code, random (two numbers of
--       0 to 1), lease_ms, reservation_ms, seat_here (if the room runs on the requesting shard, the seat is taken,
--       not reserved),
--       and, unless any open room will do, one of: name, room_id, code, is_private (a new private room),
--       is_get_or_create (the room with the id new_id, created if it does not exist, for these players only);
--       may_enter: also a room that is locked or private; may_not_create: only an existing room;
--       is_durable: a named room whose lease has ended keeps its id;
--       party, party_size: the first of a party reserves seats for all of it, the others get those seats; a member
--       that has lost its seat gets another one if one is free}
-- Result  {status = "ok", room_id, room_type, name, code, labels, shard_id, url, epoch, is_new, is_seated, until_ms}
--       until_ms: when the reservation ends, by the clock of Redis
--       or {status = "unregistered" | "full" | "locked" | "not_found" | "no_capacity" | "recovering" |
--       "not_created" (the room does not exist, and may_not_create)},
--       or {status = "owner_failed", wait_ms}: the owner has failed, and its lease has not ended yet

local WALK_MAX = 64
local here = get_shard(request.shard_id)
if not here then
  return reply({status = 'unregistered'})
end
local region, players = request.region, request.players
local party = request.party and key('party', request.room_type, request.party)
local members = request.party and key('party_members', request.room_type, request.party)

-- Reserved seats of a party that are still free are stored under names that no player can have.
local function placeholder(number)
  return '\1' .. request.party .. '\1' .. number
end

local function find_placeholder(id)
  if not party then
    return nil
  end
  for number = 1, request.party_size do
    if redis.call('ZSCORE', key('seats', id), placeholder(number)) then
      return placeholder(number)
    end
  end
end

-- A member may lose its seat and join again, for example after the room has refused it.
local function are_members()
  for _, player in ipairs(players) do
    if redis.call('SISMEMBER', members, player) == 0 then
      return false
    end
  end
  return true
end

local function count_missing(id)
  local count = 0
  for _, player in ipairs(players) do
    local score = redis.call('ZSCORE', key('seats', id), player)
    if not score or tonumber(score) <= now then
      count = count + 1
    end
  end
  return count
end

local function reserve_seat(room, player, is_seated)
  local seats = key('seats', room.id)
  if is_seated then
    redis.call('ZADD', seats, SEATED + now, player)
  elseif tonumber(redis.call('ZSCORE', seats, player) or 0) < SEATED then
    redis.call('ZADD', seats, now + request.reservation_ms, player)
  end
end

local function reserve(room, is_new)
  local is_seated = request.seat_here and room.shard == request.shard_id
  local seats = key('seats', room.id)
  if is_new then
    local scores = {}
    for _, player in ipairs(players) do
      scores[#scores + 1] = is_seated and SEATED + now or now + request.reservation_ms
      scores[#scores + 1] = player
    end
    redis.call('DEL', seats)
    redis.call('ZADD', seats, unpack(scores))
  else
    redis.call('ZREMRANGEBYSCORE', seats, '-inf', now)
    for _, player in ipairs(players) do
      reserve_seat(room, player, is_seated)
    end
  end
  if party and redis.call('EXISTS', party) == 0 then
    for number = 2, request.party_size do
      redis.call('ZADD', seats, now + request.reservation_ms, placeholder(number))
    end
    redis.call('SET', party, room.id, 'PX', request.reservation_ms)
    redis.call('DEL', members)
  end
  if party then
    redis.call('SADD', members, unpack(players))
    redis.call('PEXPIRE', members, request.reservation_ms)
  end
  redis.call('PEXPIRE', seats, math.max(request.lease_ms, request.reservation_ms) * 2)
  if not is_new or room.access == 'open' then
    index(room)
  end
  local owner = get_shard(room.shard)
  redis.call('HINCRBY', key('shard', room.shard), 'players', #players)
  return reply({
    status = 'ok', room_id = room.id, room_type = room.type, name = room.name, code = room.code,
    labels = room.labels, shard_id = room.shard, url = owner.url, epoch = room.epoch, is_new = is_new,
    is_seated = is_seated, until_ms = now + request.reservation_ms,
  })
end

local function has_owner(room)
  local owner = get_shard(room.shard)
  return owner and not is_replaced(owner, here)
end

-- Returns a seat in a requested room, or the reason for a refusal.
local function join_room(room, may_enter)
  if not room then
    return reply({status = 'not_found'})
  end
  if not has_owner(room) then
    return reply({status = 'owner_failed', wait_ms = redis.call('PTTL', key('room', room.id))})
  end
  local need = count_missing(room.id)
  if party and redis.call('EXISTS', party) == 0 then
    need = need + request.party_size - 1
  end
  if need > 0 and not may_enter then
    return reply({status = 'locked'})
  end
  if need > 0 and count_taken(room.id) + need > room.seats then
    return reply({status = 'full'})
  end
  return reserve(room, false)
end

-- A shard that has failed is in the directory until its entry expires. If the requesting shard has missed its own
-- heartbeats as well, Redis did not answer for a while, and silence means nothing.
local function is_usable(shard)
  return shard and shard.is_ready and not is_replaced(shard, here) and (not shard.is_silent or here.is_silent)
end

local hosts = key('hosts', region, request.room_type)

local function can_host(id)
  local shard = id and get_shard(id)
  if id and not shard then
    redis.call('ZREM', hosts, id)
  end
  if is_usable(shard) and shard.rooms < shard.rooms_max and shard.load < shard.load_max then
    return shard
  end
end

-- Loads within a twentieth count as equal. Then the number of players decides, then the requesting shard is
-- preferred.
local function less_loaded(one, other)
  local a, b = math.floor(one.load * 20), math.floor(other.load * 20)
  if a ~= b then
    return a < b and one or other
  end
  if one.players ~= other.players then
    return one.players < other.players and one or other
  end
  return other.id == request.shard_id and other or one
end

local function pick_host()
  local count = redis.call('ZCARD', hosts)
  if count == 0 then
    return nil
  end
  local first = math.min(math.floor(request.random[1] * count), count - 1)
  local second = math.min(math.floor(request.random[2] * (count - 1)), count - 2)
  if second >= first then
    second = second + 1
  end
  local ids = {redis.call('ZRANGE', hosts, first, first)[1], redis.call('ZRANGE', hosts, second, second)[1]}
  local one, other = can_host(ids[1]), count > 1 and can_host(ids[2])
  if one and other then
    return less_loaded(one, other)
  end
  if one or other then
    return one or other
  end
  local best
  for _, id in ipairs(redis.call('ZREVRANGE', hosts, 0, WALK_MAX - 1)) do
    local shard = can_host(id)
    best = shard and (best and less_loaded(best, shard) or shard) or best
  end
  return best
end

local function create_room()
  if request.may_not_create then
    return reply({status = 'not_created'})
  end
  local need = party and request.party_size or #players
  if need > request.seats then
    return reply({status = 'full'})
  end
  local shard = pick_host()
  if not shard then
    return reply({status = 'no_capacity'})
  end
  local room = {
    id = request.new_id, type = request.room_type, name = request.name or '', shard = shard.id, epoch = next_epoch(),
    seats = request.seats, access = (request.is_private or request.is_get_or_create) and 'private' or 'open', code = request.new_code or '',
    labels = table.concat(request.labels, ','), region = shard.region, build = shard.build,
  }
  write_lease(room, math.max(request.lease_ms, request.reservation_ms))
  redis.call('HINCRBYFLOAT', key('shard', shard.id), 'load', shard.room_load)
  redis.call('HINCRBY', key('shard', shard.id), 'rooms', 1)
  return reserve(room, true)
end

local function has_labels(room)
  for _, label in ipairs(request.labels) do
    if not string.find(',' .. room.labels .. ',', ',' .. label .. ',', 1, true) then
      return false
    end
  end
  return true
end

-- Returns the room with the fewest free seats among the rooms of an index that have enough.
local function fullest(source, need)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', source, need, '+inf', 'LIMIT', 0, WALK_MAX)) do
    local room = get_room(id)
    if not room then
      redis.call('ZREM', source, id)
    elseif has_labels(room) then
      local shard = get_shard(room.shard)
      if is_usable(shard) and room.access == 'open' and room.seats - count_taken(id) >= need then
        return room
      end
    end
  end
end

local function any_open()
  local need = party and request.party_size or #players
  local room = here.is_ready and fullest(key('here', request.shard_id, request.room_type), need)
  if room then
    return room
  end
  local source = key('open', region, request.room_type)
  for _, label in ipairs(request.labels) do
    local labelled = key('with', region, request.room_type, label)
    if redis.call('ZCARD', labelled) < redis.call('ZCARD', source) then
      source = labelled
    end
  end
  return fullest(source, need)
end

-- Opens rooms again that were full of reservations that have ended since.
local function reopen()
  local held = key('held', region, request.room_type)
  local ended = redis.call('ZRANGEBYSCORE', held, '-inf', now, 'LIMIT', 0, WALK_MAX)
  for _, id in ipairs(ended) do
    local room = get_room(id)
    if room then
      index(room)
    else
      redis.call('ZREM', held, id)
    end
  end
  return #ended > 0
end

local waiting = party and redis.call('GET', party)
if waiting then
  local room = get_room(waiting)
  local seat = room and find_placeholder(waiting)
  if room and (seat or count_missing(waiting) == 0 or are_members()) then
    if seat and count_missing(waiting) > 0 and has_owner(room) then
      redis.call('ZREM', key('seats', waiting), seat)
    end
    return join_room(room, true)
  end
  return reply({status = room and 'full' or 'not_found'})
end
if request.room_id then
  local room = get_room(request.room_id)
  return join_room(room, room and (request.may_enter or room.access == 'open'))
end
if request.code then
  local room = get_room(redis.call('GET', key('code', request.code)) or '')
  return join_room(room, room and room.access ~= 'locked')
end
if request.is_get_or_create then
  local room = get_room(request.new_id)
  return room and join_room(room, true) or create_room()
end
if request.name then
  local known = redis.call('HMGET', key('name', request.room_type, request.name), 'id', 'epoch')
  local room = known[1] and get_room(known[1])
  if room then
    return join_room(room, request.may_enter or room.access == 'open')
  end
  -- The shard of the room has failed. A durable room is restored and keeps its id. Any other room starts new with a new
  -- id, so that values that games derive from the id, such as idempotency keys, are not repeated.
  request.new_id = request.is_durable and known[1] or request.new_id
  if not known[2] and redis.call('EXISTS', prefix .. ':recovering') == 1 then
    return reply({status = 'recovering', wait_ms = redis.call('PTTL', prefix .. ':recovering')})
  end
  return create_room()
end
if not request.is_private then
  local room = any_open() or (reopen() and any_open())
  if room then
    return reserve(room, false)
  end
end
return create_room()
