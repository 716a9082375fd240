## Loads the generated scripts of res://generated, and converts values with the classes of bazaar.gd.
extends SceneTree

const MessagePack := preload("res://addons/tickwire/core/message_pack.gd")


func _initialize() -> void:
	await process_frame
	var loaded := []
	for file in DirAccess.get_files_at("res://generated"):
		var script: GDScript = load("res://generated/" + file)
		if script and script.can_instantiate():
			loaded.append(file)
	loaded.sort()
	print(JSON.stringify({"loaded": loaded}))
	var bazaar: GDScript = load("res://generated/bazaar.gd")
	_receive(bazaar)
	_send(bazaar)
	quit()


func _receive(bazaar: GDScript) -> void:
	var listing := {"item": "sword", "price": 5, "currency": "gems", "parts": [{"item": "hilt", "price": 1}]}
	var added: RefCounted = bazaar.ListingAdded.from_value({
		"listing": listing, "booths": {"7": {"place": [1.0, 2.0], "opened": null}}
	})
	var traded: RefCounted = bazaar.Traded.from_value({"how": {"type": "gift", "to": "ann"}, "new": 1})
	var sold: RefCounted = bazaar.Traded.from_value({"how": {"type": "sale", "amount": 2}})
	var page: RefCounted = bazaar.ListingPage.from_value({"listings": [listing, listing]})
	print(JSON.stringify({
		"received": {
			"item": added.listing.item,
			"part": added.listing.parts[0].item,
			"default": added.listing.parts[0].currency,
			"booth": added.booths["7"].place,
			"gift": traded.how.to,
			"is_gift": traded.how.get_script() == bazaar.Gift,
			"amount": sold.how.amount,
			"listings": page.listings.size(),
			"next": page.next,
			"broken": bazaar.ListingPage.from_value("no map").listings,
			"gold": bazaar.Currency.GOLD,
		}
	}))


func _send(bazaar: GDScript) -> void:
	var part: RefCounted = bazaar.Listing.new()
	part.item = "hilt"
	var listing: RefCounted = bazaar.Listing.new()
	listing.item = "sword"
	listing.price = 5
	listing.parts = [part]
	var inputs: RefCounted = bazaar.GrandBazaarInputs.new()
	inputs.walk = 0.5
	print(JSON.stringify({
		"sent": {
			"listing": listing.to_value(),
			"inputs": inputs.to_value(),
			"options": bazaar.BazaarOptions.new().to_value(),
			"room_type": bazaar.GrandBazaarRoom.ROOM_TYPE,
		}
	}))
